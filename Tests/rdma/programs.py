"""The test program `rdma-hostile` as processes: a source, well-behaved readers, and a hostile one.

MARTLET_RDMA_HOSTILE names the program (default: the newest build of this checkout). They print lines of JSON and take
commands on their standard input; every one of them is ended with the test that started it.
"""

import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

from devices import ROOT

SEED = 7


def program() -> str:
    given = os.environ.get("MARTLET_RDMA_HOSTILE")
    built = [path for kind in ("release", "debug") if (path := ROOT / ".build" / kind / "rdma-hostile").exists()]
    if not given and not built:
        raise AssertionError("rdma-hostile is not built: swift build --product rdma-hostile")
    return given or str(max(built, key=lambda path: path.stat().st_mtime))


class Process:
    """A running program: the events it told, in order."""

    def __init__(self, name: str, kind: str, *options, test=None, memlock_kb: int = None, **settings):
        argv = [program(), kind]
        for key, value in settings.items():
            argv += [f"--{key.replace('_', '-')}", str(value)]
        if memlock_kb is not None:
            # Without CAP_IPC_LOCK, or the limit would mean nothing.
            argv = ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "bash", "-c",
                    f"ulimit -l {memlock_kb}; exec \"$@\"", "bash", *argv]
        self.name, self.events, self._said = name, [], queue.Queue()
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True, bufsize=1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if test:
            test.addCleanup(self.end)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _read(self):
        for line in self._popen.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "noise", "text": line.strip()}
            self._said.put(event)
        self._said.put({"event": "eof"})

    def _take(self, limit: float):
        event = self._said.get(timeout=max(limit, 0.001))
        event["at"] = time.monotonic()
        self.events.append(event)
        return event

    def drain(self):
        """Takes in what was told until now."""
        while True:
            try:
                self._take(0.001)
            except queue.Empty:
                return

    def wait_for(self, name: str, limit: float, condition=lambda event: True, since: int = None) -> dict:
        """The first event of this name, told from now on (or from event number `since`) that fulfils the condition."""
        at = len(self.events) if since is None else since
        end = time.monotonic() + limit
        while True:
            while at < len(self.events):
                event = self.events[at]
                at += 1
                if event["event"] == name and condition(event):
                    return event
                if event["event"] in ("eof", "failed") and name != event["event"]:
                    raise AssertionError(f"{self.name} has ended ({self.end_code()}) before {name}: {self.told()}")
            try:
                self._take(end - time.monotonic())
            except queue.Empty:
                raise AssertionError(f"{self.name}: no {name} within {limit:g} s; it said: {self.told()}") from None

    def wait_for_any(self, names: tuple, limit: float) -> dict:
        """The next event of one of these names."""
        end = time.monotonic() + limit
        while True:
            try:
                event = self._take(end - time.monotonic())
            except queue.Empty:
                raise AssertionError(f"{self.name}: none of {names} within {limit:g} s; it said: {self.told()}") from None
            if event["event"] in names:
                return event

    def last(self, *names) -> dict:
        self.drain()
        return next((event for event in reversed(self.events) if event["event"] in names), {})

    def all(self, name: str) -> list:
        self.drain()
        return [event for event in self.events if event["event"] == name]

    def told(self) -> str:
        return "\n".join(json.dumps(event) for event in self.events[-12:])

    def type(self, command: str):
        self._popen.stdin.write(command + "\n")
        self._popen.stdin.flush()

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def end_code(self):
        return self._popen.poll()

    def kill(self, number: int = signal.SIGKILL):
        self._popen.send_signal(number)
        if number != signal.SIGKILL:
            return
        try:
            self._popen.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} was killed and is not gone after 60 s: {self._held()}") from None

    def _held(self) -> str:
        """What its threads are held by in the kernel, and what that says."""
        told = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                stack = (task / "stack").read_text()
            except OSError:
                stack = (task / "wchan").read_text()
            told.append(f"{(task / 'comm').read_text().strip()}: {stack}")
        log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True).stdout.splitlines()[-20:]
        return "\n".join([*told, *log])

    def end(self):
        if self.is_running():
            self._popen.kill()
        self._popen.wait(30)
        self._reader.join(10)
        self._popen.stdout.close()
        try:
            self._popen.stdin.close()
        except OSError:
            pass

    def resident_mb(self) -> float:
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0

    def descriptors(self) -> int:
        return len(list(pathlib.Path(f"/proc/{self.pid}/fd").iterdir()))


def source(device, test=None, name="source", port: int = 0, listen: str = "0.0.0.0", **settings) -> Process:
    """A source on a device; its `port` is where it listens."""
    started = Process(name, "source", device=device.name, listen=f"{listen}:{port}", seed=SEED, test=test, **settings)
    ready = started.wait_for("ready", 60, since=0)
    started.port = int(ready["address"].rsplit(":", 1)[1])
    started.ready = ready
    return started


def reader(device, *addresses, test=None, name="reader", **settings) -> Process:
    """A well-behaved reader of one or more `host:port`."""
    return Process(
        name, "reader", device=device.name, seed=SEED, test=test,
        **{"from": ",".join(f"rdma:{address}" for address in addresses)}, **settings)
