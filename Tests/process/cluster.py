"""A Martlet cluster of real processes on this machine, for tests and the quickstart.

Every process gets its own directory, ports on loopback and name; hosts act as different machines unless told otherwise, so that
pieces travel by TCP. Everything started is ended by pid, and the directory is removed, whatever happens.
"""

import atexit
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
import urllib.error
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

    def ask_to_stop(self):
        if self.is_running():
            self.popen.terminate()

    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def stop(self):
        """Asks it to end in order; its exit code."""
        if self.is_running():
            self.popen.terminate()
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.returncode if self.popen else None

    def rss_max_bytes(self) -> int:
        """The process's peak resident memory so far."""
        with contextlib.suppress(OSError), open(f"/proc/{self.popen.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        return 0

    def said(self) -> str:
        """All it has logged."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.said().splitlines()[-lines:])

    def page(self, path: str) -> tuple:
        """Status and text of a page beside its metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels) -> float:
        """One sample of its Prometheus page; the sum over what the labels leave open."""
        total = 0.0
        for line in self.page("/metrics")[1].splitlines():
            if line.startswith("#") or not line.startswith(name):
                continue
            series, value = line.rsplit(" ", 1)
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total


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

    def __init__(self, name: str = "test", keep: bool = False, host: str = "127.0.0.1", **environment):
        """A cluster of which nothing runs yet; its servers listen on `host`."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"martlet-{name}-"))
        self.keep = keep
        self.name = name
        self.environment = environment
        self.host = self.manager_host = host
        self.processes = []
        self.commands = []
        self.martlet = executable()
        self.manager = self.scheduler = self.origin = None
        self.token = self.directory / "token"
        self.manager_port = self.scheduler_port = None
        self.static_scheduler = False
        # Also when the test runner is interrupted, which runs no clean-up.
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(tell=kind is not None and issubclass(kind, Exception))

    def close(self, tell: bool = False):
        """Ends every process and removes the directory; `tell` prints the ends of the logs first."""
        atexit.unregister(self.close)
        if tell:
            for process in self.processes:
                print(f"--- {process.name}\n{process.tail()}", file=sys.stderr)
        for command in self.commands:
            command.end()
        # All are asked at once; waiting for each in turn would add up.
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.ask_to_stop()
        for process in reversed(self.processes):
            with contextlib.suppress(Exception):
                process.stop()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    # -- processes

    def env(self, **more) -> dict:
        """A clean environment: nothing of the caller's MARTLET_* or hub settings leaks in."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MARTLET_", "HF_", "XDG_"))}
        # Metrics only where a test says: two clusters at a time would meet at the built-in ports.
        env.update({f"MARTLET_{server}_METRICS_LISTEN": "" for server in ("MANAGER", "SCHEDULER", "PEER")})
        env.update(HOME=str(self.directory), MARTLET_CLUSTER_NAME=self.name, MARTLET_PEER_MIN_FREE="0")
        if self.origin:
            env["HF_ENDPOINT"] = self.origin.url
        # Beside it lie the authority, the operators' socket and the schedulers' identities.
        env["MARTLET_MANAGER_DATABASE"] = str(self.directory / "manager.sqlite")
        if self.token.exists():
            env["MARTLET_IDENTITY_TOKEN_FILE"] = str(self.token)
        elif self.host == "127.0.0.1" and self.manager is None:
            # Without a manager there is nobody to join by.
            env["MARTLET_TLS_INSECURE"] = "true"
        if self.manager_port:
            env["MARTLET_MANAGER_ADDRESSES"] = f"{self.manager_host}:{self.manager_port}"
        if self.static_scheduler and self.scheduler_port:
            env["MARTLET_PEER_SCHEDULERS"] = f"{self.host}:{self.scheduler_port}"
        env.update(self.environment)
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def _start(self, process: Process, wait: bool = True):
        self.processes.append(process)
        return process.start(wait)

    def start_origin(self, root, *arguments) -> Origin:
        self.origin = self._start(Origin(self, pathlib.Path(root), *arguments))
        return self.origin

    def start_manager(self, **env) -> Process:
        """A manager, and a token in a file by which all others join."""
        self.manager_port = free_port()
        metrics = free_port()
        env = self.env(
            MARTLET_MANAGER_LISTEN=f"{self.host}:{self.manager_port}", MARTLET_TLS_INSECURE=None,
            MARTLET_MANAGER_METRICS_LISTEN=f"127.0.0.1:{metrics}", MARTLET_MANAGER_ADDRESSES=None, **env)
        process = Process("manager", [self.martlet, "manager"], env, self.directory / "manager.log", ready_at(metrics))
        process.metrics_port = metrics
        self.manager = self._start(process)
        self.token.write_text(self.make_token("scheduler,seed,peer"))
        return process

    def make_token(self, roles: str, *arguments) -> str:
        """A join token, as an operator on the manager's machine makes it."""
        return self.run("token", "create", "--role", roles, *arguments).strip()

    def start_scheduler(self, name: str = "scheduler-1", **env) -> Process:
        """A scheduler on a port of its own; the one started last is the one that hosts are pointed to by hand."""
        self.scheduler_port = free_port()
        metrics = free_port()
        env = self.env(
            MARTLET_SCHEDULER_NAME=name, MARTLET_SCHEDULER_LISTEN=f"{self.host}:{self.scheduler_port}",
            MARTLET_SCHEDULER_METRICS_LISTEN=f"127.0.0.1:{metrics}", **env)
        process = Process(
            name, [self.martlet, "scheduler"], env, self.directory / f"{name}.log", ready_at(metrics))
        process.metrics_port, process.port = metrics, self.scheduler_port
        self.scheduler = self._start(process)
        return process

    def start_peer(self, name: str, seed: bool = False, machine: str = None, attached: bool = True, **env) -> "Peer":
        """A peer, attached to the scheduler unless told otherwise; hosts act as different machines unless told otherwise."""
        peer = self._start(Peer(self, name, "seed" if seed else "peer", machine or f"machine-of-{name}", env))
        return peer.wait_attached() if attached else peer

    def start_up(self, name: str = "up") -> "Peer":
        """`martlet up`: all servers in one process."""
        return self._start(
            Peer(
                self, name, "up", f"machine-of-{name}", {
                    "MARTLET_TLS_INSECURE": None,
                    "MARTLET_MANAGER_LISTEN": f"127.0.0.1:{free_port()}",
                    "MARTLET_MANAGER_DATABASE": str(self.directory / "state" / "manager.sqlite"),
                    "MARTLET_SCHEDULER_LISTEN": f"127.0.0.1:{free_port()}"})).wait_attached()

    def start_seed(self, name: str = "seed-1", **env) -> "Peer":
        return self.start_peer(name, seed=True, **env)

    def start_all(self, root, *origin, seeds: int = 1, peers: int = 3, **env):
        """Origin (with these arguments), manager, scheduler, seeds and peers; returns the seeds and the peers."""
        self.start_origin(root, *origin)
        self.start_manager()
        self.start_scheduler()
        made_seeds = [self.start_seed(f"seed-{i + 1}", **env) for i in range(seeds)]
        made_peers = [self.start_peer(f"peer-{i + 1}", **env) for i in range(peers)]
        return made_seeds, made_peers


    # -- commands

    def command(self, *arguments, **env) -> "Command":
        """Any command, started; it logs errors only."""
        command = Command([self.martlet, *arguments], self.env(**{"MARTLET_LOG_LEVEL": "error", **env}))
        self.commands.append(command)
        return command

    def get(self, reference: str, *arguments, to=None, **env) -> "Command":
        """`martlet get --json`, started: through a socket, when MARTLET_PEER_SOCKET names one."""
        place = ["--to", str(to)] if to else []
        return self.command("get", reference, "--json", "--quiet", *arguments, *place, **env)

    def get_alone(self, reference: str, *arguments, store: str = "alone", to=None, **env) -> "Command":
        """`martlet get` without any daemon, started: it runs a peer and a scheduler of its own."""
        return self.get(
            reference, "--standalone", *arguments, to=to, MARTLET_MANAGER_ADDRESSES=None, MARTLET_PEER_SCHEDULERS=None,
            MARTLET_PEER_DATA_DIR=str(self.directory / store), MARTLET_PEER_SOCKET=str(self.directory / "no-socket"),
            MARTLET_PEER_SLOTS_BYTES="64MiB", **env)

    def run(self, *arguments, **env) -> str:
        """Any command: what it prints; fails when it fails."""
        return self.command(*arguments, **env).output()


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

    def __init__(self, cluster: Cluster, name: str, command: str, machine: str, env: dict):
        self.cluster = cluster
        self.directory = cluster.directory / name
        self.directory.mkdir(exist_ok=True)
        self.socket = str(self.directory / "s")
        self.metrics_port = free_port()
        self.listen_port = free_port()
        full = cluster.env(**{
            "MARTLET_PEER_NAME": name, "MARTLET_PEER_DATA_DIR": str(self.directory / "store"),
            "MARTLET_PEER_SOCKET": self.socket, "MARTLET_PEER_LISTEN": f"{cluster.host}:{self.listen_port}",
            "MARTLET_PEER_MACHINE": machine, "MARTLET_PEER_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "MARTLET_PEER_SLOTS_BYTES": "128MiB", **env})
        super().__init__(
            name, [cluster.martlet, command], full, cluster.directory / f"{name}.log",
            ready_at(self.metrics_port))

    def wait_attached(self):
        """Until the scheduler knows it: a cluster without an attached seed lets peers read the origin."""
        wait_for(f"{self.name} is attached to the scheduler", lambda: self.metric("martlet_scheduler_attached") == 1)
        return self

    def wait_schedulers(self, count: int):
        """Until it is attached to so many schedulers and knows of no others."""
        wait_for(
            f"{self.name} is attached to {count} schedulers",
            lambda: (self.metric("martlet_schedulers", attached="1"), self.metric("martlet_schedulers", attached="0"))
            == (count, 0))
        return self

    def received_bytes(self, **labels) -> int:
        """Verified bytes of downloads, finished or not."""
        return int(self.metric("martlet_received_bytes_total", **labels))

    def get(self, reference: str, *arguments, to=None, **env) -> dict:
        """`martlet get` through this node's socket: its result."""
        return self.start_get(reference, *arguments, to=to, **env).result()

    def start_get(self, reference: str, *arguments, to=None, **env) -> "Command":
        """The same, not waited for."""
        return self.cluster.get(reference, *arguments, to=to, MARTLET_PEER_SOCKET=self.socket, **env)

    def run(self, *arguments) -> str:
        """Another command that talks to this node's socket: what it prints."""
        return self.cluster.run(*arguments, MARTLET_PEER_SOCKET=self.socket)


class Command:
    """A running command, like `martlet get`; not a server."""

    def __init__(self, argv: list, env: dict):
        self.name = f"martlet {argv[1]}"
        self.popen = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.code = self.out = self.err = None

    def finish(self, limit: float = 240) -> "Command":
        if self.code is not None:
            return self
        try:
            self.out, self.err = self.popen.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.out, self.err = self.popen.communicate()
            raise TimeoutError(f"{self.name} did not end within {limit} s; it said: {self.err[-2000:]}") from None
        self.code = self.popen.returncode
        return self

    def output(self, limit: float = 240) -> str:
        """What it prints; fails when the command failed."""
        self.finish(limit)
        if self.code != 0:
            raise RuntimeError(f"{self.name} ended with {self.code}: {self.err.strip()[-2000:]}")
        return self.out

    def result(self, limit: float = 240) -> dict:
        """The JSON it prints; fails when the command failed."""
        return json.loads(self.output(limit))

    def interrupt(self):
        """Ctrl-C."""
        self.popen.send_signal(signal.SIGINT)

    def end(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.communicate()
