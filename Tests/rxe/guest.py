"""Guests: small Linux machines that have the real rdma_rxe driver, on a machine whose own kernel has none.

A guest is User-Mode Linux (`uml`, an ordinary program; the everyday one) or QEMU without KVM with Debian's unmodified
kernel (`qemu`). It sees this machine's files read-only below a throw-away overlay, so what was built here runs there as it
is; its commands are root there and nobody special here.

    outcome = Guest().run("ibv_devinfo", limit=60)
    print(outcome.code, outcome.output)

    with GuestPair() as pair:            # two machines and a cable
        pair.a.start("ib_read_bw -d rxe0")
        print(pair.b.run("ib_read_bw -d rxe0 10.8.0.1", limit=60).output)

Every guest ends with its limit, with `kill`, and with the process that started it, even by SIGKILL; its directory below
.build/rxe/guests goes with it.
"""

import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / ".build" / "rxe"
KERNEL = BUILT / "linux"
INIT = BUILT / "guest-init"
QEMU_KERNEL = BUILT / "qemu-kernel"
QEMU_INITRAMFS = BUILT / "qemu-initramfs"

# Set for everything a guest runs, and for the guest itself: by it the end of the lane finds what was left behind.
LANE = "MARTLET_LANE"

# What a guest answers that its command cannot: it ended without an exit code, or its set-up failed.
NO_EXIT_CODE = 124
SETUP_FAILED = 125

OUTPUT_BYTES_MAX = 32 << 20
KERNEL_LOG_LINES = 40

BACKENDS = ("uml", "qemu")

# What limits are to be multiplied with: an emulated processor is slow.
SLOWNESS = {"uml": 1, "qemu": 4}


class GuestError(Exception):
    """A guest that cannot be started, with what to do about it."""


class Outcome:
    """How a guest ended: `code` is its command's exit code, or NO_EXIT_CODE."""

    def __init__(self, code: int, how: str, output: str, kernel_log: str, seconds: float):
        self.code, self.how, self.output, self.kernel_log, self.seconds = code, how, output, kernel_log, seconds

    def check(self) -> "Outcome":
        """Itself; fails, telling everything, when the command did not end with 0."""
        if self.code != 0:
            raise AssertionError(self.told())
        return self

    def told(self) -> str:
        text = f"{self.how} after {self.seconds:.1f} s\n{self.output[-20000:]}"
        return text if self.how.startswith("exit code") else f"{text}\n--- the guest's kernel log\n{self.kernel_log}"


class Guest:
    """One guest. It runs one command and is gone."""

    def __init__(
            self, name: str = "guest", backend: str = None, setup: str = "setup-pair", memory_mb: int = 2048, cpus: int = 2,
            environment: dict = None, user: str = None, memlock: str = "unlimited", directory=None, cable=None):
        """A guest that is not started yet.

        setup        a script of this directory (or a path) that its root runs first: setup-pair, setup-single, setup-bare
        cpus         QEMU only: User-Mode Linux has one
        environment  for the set-up and the command
        user         who runs the command; root unless told otherwise
        memlock      KiB that the command may lock, or "unlimited"
        directory    a directory of this machine that the guest can write, as /guest; it stays. None: one that goes
        cable        an end of a `Cable`
        """
        self.name, self.backend = name, backend or default_backend()
        self.setup = HERE / setup
        self.memory_mb, self.cpus, self.user, self.memlock, self.cable = memory_mb, cpus, user, memlock, cable
        self.environment = dict(environment or {})
        self._keep = directory is not None
        self._given = directory
        self.directory = None
        self._popen = self._reader = None
        self._chunks, self._kept_bytes, self._echo = [], 0, None
        if self.backend not in BACKENDS:
            raise GuestError(f"no backend {self.backend!r}: use uml or qemu")

    # -- life

    def run(self, command, limit: float = 600, echo: bool = False) -> Outcome:
        """Starts, waits and tells; `echo` prints the output as it comes."""
        return self.start(command, echo).wait(limit)

    def start(self, command, echo: bool = False) -> "Guest":
        """Boots it and lets it run the command: a line for bash, or a list of arguments."""
        needed = [KERNEL, INIT] if self.backend == "uml" else [QEMU_KERNEL, QEMU_INITRAMFS]
        if not all(path.exists() for path in needed):
            maker = "build-kernel" if self.backend == "uml" else "prepare-qemu"
            raise GuestError(f"no {self.backend} guest is built here: run Tests/rxe/{maker}")
        self._make_directory()
        self._write_files(command)
        argv, environment = self._uml() if self.backend == "uml" else self._qemu()
        self._echo = sys.stdout.buffer if echo else None
        self._began = time.monotonic()
        # setpriv: no guest outlives the one who started it, however that one ends. (The thread that calls this counts.)
        with open(self.directory / "kernel-log", "wb") as log:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv], env={LANE: "1", **os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                pass_fds=[self.cable.fileno()] if self.cable else [])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def wait(self, limit: float = 600) -> Outcome:
        """Until the command has ended, at most `limit` seconds from now; booting counts (uml: under 1 s, qemu: 5)."""
        how = None
        try:
            self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            how = f"ended by its limit of {limit:g} s"
        finally:
            self._end()
        self._reader.join(10)
        seconds = time.monotonic() - self._began
        code = self._exit_code()
        if code is None:
            how = how or f"no exit code: the guest ({self.backend}) ended with {self._popen.returncode}"
            code = NO_EXIT_CODE
        else:
            how = f"exit code {code}"
        outcome = Outcome(code, how, self.output(), self.kernel_log(), seconds)
        self._remove_directory()
        return outcome

    def kill(self):
        """SIGKILL, like a power cut: what it sent is on the cable, nothing more comes, nothing is answered."""
        self._end()
        if self.cable:
            self.cable.unplug()

    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def close(self):
        """Ends it if need be, and removes its directory."""
        if self._popen:
            self._end()
        self._remove_directory()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- what it says

    def output(self) -> str:
        """What setup and command have printed so far (its end, beyond 32 MiB)."""
        return b"".join(self._chunks).decode(errors="replace")

    def kernel_log(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join((self.directory / "kernel-log").read_text(errors="replace").splitlines()[-KERNEL_LOG_LINES:])
        return ""

    def file(self, name: str) -> pathlib.Path:
        """/guest/NAME, as this machine sees it."""
        return self.directory / name

    def wait_for_file(self, name: str, limit: float = 60) -> str:
        """Until the command has made /guest/NAME: its text. Fails when the guest ends before."""
        end = time.monotonic() + limit
        while not self.file(name).exists():
            if not self.is_running():
                raise AssertionError(f"{self.name} ended without making /guest/{name}:\n{self.output()[-4000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} has not made /guest/{name} in {limit:g} s:\n{self.output()[-4000:]}")
            time.sleep(0.02)
        return self.file(name).read_text()

    # -- inside

    def _make_directory(self):
        if self._given is not None:
            self.directory = pathlib.Path(self._given).resolve()
            self.directory.mkdir(parents=True, exist_ok=True)
            for old in ("exit-code", "times"):
                (self.directory / old).unlink(missing_ok=True)
        else:
            guests = BUILT / "guests"
            guests.mkdir(parents=True, exist_ok=True)
            remove_orphans(guests)
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-{self.name}-", dir=guests))
        if any(c.isspace() or c == "," for c in str(self.directory)):
            raise GuestError(f"a guest's directory is named on its kernel's command line: no blanks or commas: {self.directory}")

    def _remove_directory(self):
        if self.directory and not self._keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _write_files(self, command):
        home = "/root" if self.user is None else "/run/tmp"
        variables = {
            "HOME": home, "TMPDIR": "/run/tmp", "MARTLET_GUEST": self.backend, LANE: "1", "PYTHONDONTWRITEBYTECODE": "1",
            **{name: str(value) for name, value in self.environment.items()}}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        (self.directory / "environment").write_text("\n".join([*lines, ""]))
        (self.directory / "setup").write_text(f"ulimit -l unlimited\nexec bash {shlex.quote(str(self.setup))}\n")
        text = command if isinstance(command, str) else shlex.join(map(str, command))
        head = [f"ulimit -l {self.memlock}", f"cd {shlex.quote(os.getcwd())} || exit {SETUP_FAILED}"]
        if self.user is None:
            body = text
        else:
            user = shlex.quote(self.user)
            body = f"exec setpriv --reuid {user} --regid \"$(id -g {user})\" --clear-groups bash -c {shlex.quote(text)}"
        (self.directory / "command").write_text("\n".join([*head, body, ""]))
        (self.directory / "cpuinfo").write_bytes(pathlib.Path("/proc/cpuinfo").read_bytes())

    def _uml(self) -> tuple:
        argv = [
            str(KERNEL), f"mem={self.memory_mb}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={INIT}",
            "quiet", "loglevel=4", "panic=-1", "con=null", "con0=null,fd:2", "ssl=null", "ssl0=null,fd:1",
            f"uml_dir={self.directory}/", "umid=uml", f"guest.directory={self.directory}"]
        if self.cable:
            argv.append(f"vec0:transport=fd,fd={self.cable.fileno()},depth=128,mtu={self.cable.mtu},mac={self.cable.mac}")
        return argv, {"TMPDIR": memory_directory(self.memory_mb)}

    def _qemu(self) -> tuple:
        kernel = (
            "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable cryptomgr.notests "
            "random.trust_cpu=on 8250.nr_uarts=2")
        argv = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max",
            "-smp", str(self.cpus), "-m", str(self.memory_mb), "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-kernel", str(QEMU_KERNEL), "-initrd", str(QEMU_INITRAMFS), "-append", kernel,
            "-serial", f"file:{self.directory}/kernel-log", "-serial", "stdio",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot",
            "-fsdev", f"local,id=guest,path={self.directory},security_model=none",
            "-device", "virtio-9p-pci,fsdev=guest,mount_tag=guest"]
        if self.cable:
            argv += [
                "-netdev", f"dgram,id=cable,local.type=fd,local.str={self.cable.fileno()}",
                "-device", f"virtio-net-pci,netdev=cable,mac={self.cable.mac},host_mtu={self.cable.mtu}"]
        return argv, {}

    def _read(self):
        """The reading thread: all the guest prints, kept within bounds."""
        pipe = self._popen.stdout
        while chunk := os.read(pipe.fileno(), 1 << 16):
            if self._echo:
                self._echo.write(chunk)
                self._echo.flush()
            self._chunks.append(chunk)
            self._kept_bytes += len(chunk)
            while self._kept_bytes > OUTPUT_BYTES_MAX:
                self._kept_bytes -= len(self._chunks.pop(0))
        pipe.close()

    def _end(self):
        """Nothing of it runs any more: its main process and those of its address spaces are one process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(30)

    def _exit_code(self):
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "exit-code").read_text())
        return None


class Cable:
    """A guest's end of a point-to-point Ethernet link."""

    def __init__(self, end: socket.socket, far: socket.socket, mac: str, mtu: int):
        self._end, self._far, self.mac, self.mtu = end, far, mac, mtu
        self._swallower = None
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 4 << 20)

    def fileno(self) -> int:
        return self._end.fileno()

    def unplug(self):
        """Swallows what the other end sends from now on: a socket nobody reads would block the other guest instead."""
        def swallow():
            with contextlib.suppress(OSError):
                while self._end.recv(1 << 16):
                    pass
        if not self._swallower:
            self._end.setblocking(True)
            self._swallower = threading.Thread(target=swallow, daemon=True)
            self._swallower.start()

    def close(self):
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        if self._swallower:
            self._swallower.join(10)
        self._end.close()


class GuestPair:
    """Two guests and a cable between them: `a` is 10.8.0.1 and `b` is 10.8.0.2, each with rxe0. Use as a context manager."""

    def __init__(self, mtu: int = 9000, setup: str = "setup-linked", **guest):
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._cables = [
            Cable(ends[i], ends[1 - i], f"52:54:00:00:00:0{i + 1}", mtu) for i in range(2)]
        environment = guest.pop("environment", None) or {}
        self.a, self.b = [
            Guest(
                name=name, setup=setup, cable=cable,
                environment={**environment, "MARTLET_GUEST_NUMBER": i + 1, "MARTLET_GUEST_MTU": mtu}, **guest)
            for i, (name, cable) in enumerate(zip("ab", self._cables))]

    def run(self, command_a, command_b, limit: float = 600, kill_b_after: float = None) -> tuple:
        """A command in each; SIGKILL of `b` after as many seconds, if told. How both ended."""
        self.a.start(command_a)
        self.b.start(command_b)
        if kill_b_after is not None:
            time.sleep(kill_b_after)
            self.b.kill()
        end = time.monotonic() + limit
        return self.a.wait(limit), self.b.wait(max(0, end - time.monotonic()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for guest in (self.a, self.b):
            guest.close()
        for cable in self._cables:
            cable.close()


def default_backend() -> str:
    """Which kind of guests there are unless told otherwise."""
    return os.environ.get("MARTLET_GUEST_BACKEND") or "uml"


def memory_directory(memory_mb: int = 0) -> str:
    """Where User-Mode Linux keeps a guest's memory, in a file it unlinks at once: in memory, if there is as much room and
    programs may be mapped there (containers often allow neither)."""
    with open("/proc/mounts") as mounts:
        options = [line.split()[3].split(",") for line in mounts if line.split()[1] == "/dev/shm"]
    if options and "noexec" not in options[-1] and shutil.disk_usage("/dev/shm").free > memory_mb << 20:
        return "/dev/shm"
    return os.environ.get("TMPDIR") or "/tmp"


def remove_orphans(guests: pathlib.Path):
    """Directories of guests whose starter is gone, which was killed before it could."""
    for directory in guests.iterdir():
        pid = directory.name.split("-")[0]
        if pid.isdigit() and not pathlib.Path(f"/proc/{pid}").exists():
            shutil.rmtree(directory, ignore_errors=True)
