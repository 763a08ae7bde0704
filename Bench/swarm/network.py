"""A network of rate-limited links on this machine: one namespace a host, joined by a bridge in a namespace of its own.

    host's namespace          the bridge's namespace
    eth0 ── token bucket ──▶  port ── bridge ── …          what the host sends
    eth0 ◀──────────────────  port ◀─ token bucket ── …    what it receives

Both directions are limited by a token bucket on the sending end of the veth pair, as a switch port and a NIC would. The
bucket's burst (128 KiB) is more than one segmentation-offload packet, so the kernel does not cut packets in software, and
little enough (5 ms at 200 Mbit/s) that the rate holds. What does not fit waits in a queue of 20 ms and is dropped beyond
it, as in a switch.
The bridge and what has no limit cost processor time only.

A namespace, like every process in it, carries the driver's process id in its name: whoever starts next removes what a driver
that was killed has left behind.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

PREFIX = "swarm"
NAMESPACES = pathlib.Path("/run/netns")
BURST_BYTES = 128 << 10
QUEUE_SECONDS = 0.020
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine cannot make such a network; the text says why."""


def command(*words, text: str = None) -> str:
    """Runs a command to its end: what it prints, or an error with what it said."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def check_available():
    """Raises `Unavailable` where namespaces or token buckets cannot be had."""
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    for tool in ("ip", "tc", "nsenter", "setpriv"):
        if not shutil.which(tool):
            raise Unavailable(f"there is no `{tool}` (Debian: iproute2, util-linux)")
    name = f"{PREFIX}-{os.getpid()}-try"
    try:
        command("ip", "netns", "add", name)
        try:
            command("ip", "-n", name, "link", "add", "try0", "type", "veth", "peer", "name", "try1")
            command("ip", "-n", name, "link", "add", "try2", "type", "bridge")
            command("tc", "-n", name, "qdisc", "add", "dev", "try0", "root", *bucket(100.0))
        finally:
            command("ip", "netns", "del", name)
    except (RuntimeError, OSError) as error:
        raise Unavailable(f"no rate-limited namespaces here: {error}") from error


def check_origin():
    """Raises `Unavailable` where there is no nginx to be the origin, or no curl to measure the links."""
    for tool in ("nginx", "curl"):
        if not shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            raise Unavailable(f"there is no `{tool}`: Tools/setup-bench")


def bucket(mbits: float) -> list:
    """tc's words for a token bucket of this rate."""
    queue = max(64 << 10, int(mbits * 1e6 / 8 * QUEUE_SECONDS)) + BURST_BYTES
    return ["tbf", "rate", f"{mbits}mbit", "burst", str(BURST_BYTES), "limit", str(queue)]


def remove_leftovers():
    """Removes processes, namespaces, mounts and directories of drivers that are no more."""
    def is_gone(driver: str) -> bool:
        return not pathlib.Path("/proc", driver).exists()

    if NAMESPACES.exists():
        for path in NAMESPACES.glob(f"{PREFIX}-*"):
            driver = re.match(rf"{PREFIX}-(\d+)-", path.name)
            if driver and is_gone(driver[1]):
                remove_namespace(path.name)
    for directory in pathlib.Path(tempfile.gettempdir()).glob(f"martlet-{PREFIX}-*"):
        driver = re.match(rf"martlet-{PREFIX}-(\d+)$", directory.name)
        if driver and is_gone(driver[1]):
            remove_directory(directory)


def remove_namespace(name: str):
    """Kills what still runs in a namespace, by process id, and deletes it."""
    with contextlib.suppress(RuntimeError):
        for process in command("ip", "netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        command("ip", "netns", "del", name)


def remove_directory(directory: pathlib.Path):
    """Unmounts what is mounted below a directory and removes it."""
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        for attempt in range(50):
            # A killed process may hold its files a moment longer.
            if subprocess.run(["umount", mount], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


class Host:
    """One namespace with one link to the bridge."""

    def __init__(self, network: "Network", name: str, address: str, mbits: float):
        self.network, self.name, self.address, self.mbits = network, name, address, mbits
        self.namespace = network.namespace(name)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread in this namespace: sockets that it makes belong there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(NAMESPACES / self.namespace, os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(before)
            os.close(there)
            os.close(before)


def enter(descriptor: int):
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """The hosts and their bridge; use as a context manager."""

    def __init__(self):
        self.hosts = {}
        self.bridge = self.namespace("bridge")
        self.watcher = None

    @staticmethod
    def namespace(name: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{name}"

    def __enter__(self) -> "Network":
        try:
            command("ip", "netns", "add", self.bridge)
            self._ip(self.bridge, "link set lo up", "link add hub type bridge", "link set hub up")
            # Lives in the bridge's namespace, so that its /proc/…/net/dev shows all ports.
            self.watcher = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={NAMESPACES / self.bridge}", "sleep", "infinity"])
            end = time.monotonic() + 10
            while os.stat(f"/proc/{self.watcher.pid}/ns/net").st_ino != os.stat(NAMESPACES / self.bridge).st_ino:
                if time.monotonic() > end:
                    raise RuntimeError("nsenter did not enter the bridge's namespace")
                time.sleep(0.005)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for host in self.hosts.values():
            remove_namespace(host.namespace)
        self.hosts = {}
        if self.watcher:
            self.watcher.kill()
            self.watcher.wait(10)
            self.watcher = None
        remove_namespace(self.bridge)

    def add(self, name: str, address: str, mbits: float = None) -> Host:
        """A host with this address; without a rate its link is as fast as the machine."""
        host = Host(self, name, address, mbits)
        self.hosts[name] = host
        command("ip", "netns", "add", host.namespace)
        self._ip(self.bridge, f"link add {name} type veth peer name eth0 netns {host.namespace}",
                 f"link set {name} master hub", f"link set {name} up")
        self._ip(host.namespace, "link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up")
        if mbits:
            command("tc", "-n", host.namespace, "qdisc", "add", "dev", "eth0", "root", *bucket(mbits))
            command("tc", "-n", self.bridge, "qdisc", "add", "dev", name, "root", *bucket(mbits))
        return host

    def counters(self) -> dict:
        """Bytes that each host has sent and received so far, as the bridge's ports count them: {name: (sent, received)}."""
        found = {}
        for line in pathlib.Path(f"/proc/{self.watcher.pid}/net/dev").read_text().splitlines()[2:]:
            port, numbers = line.split(":", 1)
            words = numbers.split()
            # What the port receives is what the host sends.
            found[port.strip()] = (int(words[0]), int(words[8]))
        return {name: found[name] for name in self.hosts}

    @staticmethod
    def _ip(namespace: str, *lines: str):
        command("ip", "-n", namespace, "-batch", "-", text="\n".join(lines) + "\n")
