"""A Martlet cluster of real processes on this machine, for tests and the quickstart.

Every process gets its own directory, ports on loopback and name; hosts act as different machines unless told otherwise, so that
pieces travel by TCP. Everything started is ended by pid, and the directory is removed, whatever happens.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "Tests" / "support"


def executable() -> str:
    """The martlet to test: MARTLET_EXECUTABLE, or the newest build of this checkout."""
    named = os.environ.get("MARTLET_EXECUTABLE")
    if named:
        return named
    found = [p for p in (ROOT / ".build" / b / "martlet" for b in ("release", "debug")) if p.exists()]
    if not found:
        sys.exit("martlet is not built: run `make build` first")
    return str(max(found, key=lambda p: p.stat().st_mtime))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what: str, condition, limit: float = 30.0, every: float = 0.05):
    """Polls until the condition is true (its value is returned), or fails naming what did not happen."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"after {limit:.0f} s: {what} has not happened")
        time.sleep(every)


class Process:
    """One server process; its stderr goes to a log file."""

    def __init__(self, name: str, argv: list, env: dict, log: pathlib.Path, ready=None):
        self.name, self.argv, self.env, self.log, self.ready = name, argv, env, log, ready
        self.popen = None

    def start(self, wait: bool = True):
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        if wait and self.ready:
            def is_ready():
                if self.popen.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")
                return self.ready()
            wait_for(f"{self.name} is ready", is_ready)
        return self

    def kill(self):
        """kill -9: no farewell."""
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait(10)

    def stop(self):
        if self.popen and self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.returncode if self.popen else None

    def rss_max_bytes(self) -> int:
        """The process's peak resident memory so far."""
        try:
            for line in open(f"/proc/{self.popen.pid}/status"):
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0

    def tail(self, lines: int = 30) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


class Origin(Process):
    """A hub-protocol origin that counts what it serves."""

    def __init__(self, cluster, root: pathlib.Path, *arguments):
        self.port = free_port()
        argv = [sys.executable, str(SUPPORT / "hub_origin.py"), "--root", str(root), "--port", str(self.port), "--quiet",
                "--sha-cache", str(cluster.directory / "sha-cache.json"), *arguments]
        super().__init__("origin", argv, dict(os.environ), cluster.directory / "origin.log", self._answers)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def _answers(self):
        try:
            return self.stats() is not None
        except OSError:
            return False

    def _call(self, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method="GET" if body is None else "POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
            return json.loads(text) if text.strip() else {}

    def stats(self) -> dict:
        return self._call("/__stats__")

    def bytes_served(self) -> int:
        return self.stats()["bytes"]

    def reset(self):
        self._call("/__reset__", {})

    def fault(self, **what):
        self._call("/__fault__", what)


class Cluster:
    """Manager, scheduler, seeds and peers; use as a context manager."""

    def __init__(self, name: str = "test", keep: bool = False, **environment):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"martlet-{name}-"))
        self.keep = keep
        self.name = name
        self.environment = environment
        self.processes = []
        self.martlet = executable()
        self.manager = self.scheduler = self.origin = None
        self.manager_port = self.scheduler_port = None
        self.static_scheduler = False

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and not isinstance(value, KeyboardInterrupt):
            for process in self.processes:
                print(f"--- {process.name}\n{process.tail()}", file=sys.stderr)
        for process in reversed(self.processes):
            with contextlib.suppress(Exception):
                process.stop()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    # -- processes

    def env(self, **more) -> dict:
        """A clean environment: nothing of the caller's MARTLET_* or hub settings leaks in."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MARTLET_", "HF_", "XDG_"))}
        env.update(HOME=str(self.directory), MARTLET_CLUSTER_NAME=self.name, MARTLET_PEER_MIN_FREE="0")
        if self.origin:
            env["HF_ENDPOINT"] = self.origin.url
        if self.manager_port:
            env["MARTLET_MANAGER_ADDRESSES"] = f"127.0.0.1:{self.manager_port}"
        if self.static_scheduler and self.scheduler_port:
            env["MARTLET_PEER_SCHEDULERS"] = f"127.0.0.1:{self.scheduler_port}"
        env.update(self.environment)
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def _start(self, process: Process, wait: bool = True):
        self.processes.append(process)
        return process.start(wait)

    def start_origin(self, root, *arguments) -> Origin:
        self.origin = self._start(Origin(self, pathlib.Path(root), *arguments))
        return self.origin

    def start_manager(self) -> Process:
        self.manager_port = free_port()
        metrics = free_port()
        env = self.env(
            MARTLET_MANAGER_LISTEN=f"127.0.0.1:{self.manager_port}",
            MARTLET_MANAGER_DATABASE=str(self.directory / "manager.sqlite"),
            MARTLET_MANAGER_METRICS_LISTEN=f"127.0.0.1:{metrics}", MARTLET_MANAGER_ADDRESSES=None)
        process = Process("manager", [self.martlet, "manager"], env, self.directory / "manager.log", ready_at(metrics))
        process.metrics_port = metrics
        self.manager = self._start(process)
        return process

    def start_scheduler(self, **env) -> Process:
        self.scheduler_port = free_port()
        metrics = free_port()
        env = self.env(
            MARTLET_SCHEDULER_NAME="scheduler-1", MARTLET_SCHEDULER_LISTEN=f"127.0.0.1:{self.scheduler_port}",
            MARTLET_SCHEDULER_METRICS_LISTEN=f"127.0.0.1:{metrics}", **env)
        process = Process(
            "scheduler", [self.martlet, "scheduler"], env, self.directory / "scheduler.log", ready_at(metrics))
        process.metrics_port = metrics
        self.scheduler = self._start(process)
        return process

    def start_peer(self, name: str, seed: bool = False, machine: str = None, wait: bool = True, **env) -> "Peer":
        peer = Peer(self, name, seed, machine or f"machine-of-{name}", env)
        return self._start(peer, wait)

    def start_seed(self, name: str = "seed-1", **env) -> "Peer":
        return self.start_peer(name, seed=True, **env)

    def start_all(self, root, seeds: int = 1, peers: int = 3, **env):
        """Origin, manager, scheduler, seeds and peers; returns the seeds and the peers."""
        self.start_origin(root)
        self.start_manager()
        self.start_scheduler()
        made_seeds = [self.start_seed(f"seed-{i + 1}", **env) for i in range(seeds)]
        made_peers = [self.start_peer(f"peer-{i + 1}", **env) for i in range(peers)]
        return made_seeds, made_peers


def ready_at(port: int):
    """Whether /readyz answers 200 there."""
    def check():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False
    return check


class Peer(Process):
    """A peer or seed peer process, and `martlet get` against it."""

    def __init__(self, cluster: Cluster, name: str, seed: bool, machine: str, env: dict):
        self.cluster = cluster
        self.directory = cluster.directory / name
        self.directory.mkdir(exist_ok=True)
        self.socket = str(self.directory / "s")
        self.metrics_port = free_port()
        self.listen_port = free_port()
        self.extra = env
        full = cluster.env(**{
            "MARTLET_PEER_NAME": name, "MARTLET_PEER_DATA_DIR": str(self.directory / "store"),
            "MARTLET_PEER_SOCKET": self.socket, "MARTLET_PEER_LISTEN": f"127.0.0.1:{self.listen_port}",
            "MARTLET_PEER_MACHINE": machine, "MARTLET_PEER_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "MARTLET_PEER_SLOTS_BYTES": "128MiB", **env})
        super().__init__(
            name, [cluster.martlet, "seed" if seed else "peer"], full, cluster.directory / f"{name}.log",
            ready_at(self.metrics_port))

    def get(self, reference: str, to=None, wait: bool = True, *arguments, **env):
        """`martlet get --json` through this node's socket: a `Get`, started at once."""
        argv = [self.cluster.martlet, "get", reference, "--json", *arguments]
        if to:
            argv += ["--to", str(to)]
        full = self.cluster.env(MARTLET_PEER_SOCKET=self.socket, **env)
        get = Get(argv, full)
        return get.result() if wait else get

    def metric(self, name: str, **labels) -> float:
        """One sample of the peer's Prometheus page; the sum over what the labels leave open."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        total = 0.0
        for line in text.splitlines():
            if line.startswith("#") or not line.startswith(name):
                continue
            series, value = line.rsplit(" ", 1)
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total


class Get:
    """A running `martlet get`."""

    def __init__(self, argv: list, env: dict):
        self.popen = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.code = self.out = self.err = None

    def finish(self, limit: float = 180):
        try:
            self.out, self.err = self.popen.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.out, self.err = self.popen.communicate()
            raise TimeoutError(f"martlet get did not end within {limit} s; it said: {self.err[-2000:]}")
        self.code = self.popen.returncode
        return self

    def result(self, limit: float = 180) -> dict:
        """Its JSON; fails when the command failed."""
        self.finish(limit)
        if self.code != 0:
            raise RuntimeError(f"martlet get ended with {self.code}: {self.err.strip()[-2000:]}")
        return json.loads(self.out)


def write_safetensors(path: pathlib.Path, size: int, seed: int = 1):
    """A valid safetensors file of exactly `size` bytes: one tensor of incompressible bytes."""
    import hashlib
    data = size - 8
    for _ in range(3):
        length = size - 8 - len(json.dumps({"t": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}))
        header = json.dumps({"t": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}})
        data = size - 8 - len(header)
        if data == length:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(len(header).to_bytes(8, "little") + header.encode())
        left, counter = data, 0
        # AES-CTR by openssl would be faster still; blake2b-seeded os.urandom is quick enough and not repeated.
        block = 8 << 20
        while left > 0:
            part = min(block, left)
            out.write(hashlib.shake_128(f"{seed}/{counter}".encode()).digest(part) if size <= (64 << 20) else os.urandom(part))
            left -= part
            counter += 1


def sha256(path) -> str:
    import hashlib
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 << 20):
            digest.update(block)
    return digest.hexdigest()
