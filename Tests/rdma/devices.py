"""RDMA devices of this machine, as the kernel shows them, and the tests' common ground.

A test skips where what it needs is not there. MARTLET_RDMA=required makes that a failure: it is set where the devices are
known to be there, as in the guests of Tests/rxe.
"""

import os
import pathlib
import subprocess
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLASS = pathlib.Path("/sys/class/infiniband")
ROCE_V2 = "RoCE v2"
IPV4_IN_GID = "0000:0000:0000:0000:0000:ffff:"


def is_required() -> bool:
    return os.environ.get("MARTLET_RDMA") == "required"


def is_guest() -> bool:
    """Whether this is a guest of Tests/rxe, where everything is as its set-up made it."""
    return "MARTLET_GUEST" in os.environ


def is_root() -> bool:
    return os.geteuid() == 0


def run(*command, limit: float = 60, check: bool = True) -> str:
    """A program, to its end and within its limit: what it prints. Fails when it fails, unless told otherwise."""
    argv = [str(word) for word in command]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        raise AssertionError(f"{' '.join(argv)} has not ended within {limit:g} s; it said: {said[-2000:]}") from None
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def wait_until(what: str, condition, limit: float = 20, every: float = 0.02):
    """Until the condition is true (its value is returned); fails naming what did not happen."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {limit:g} s: {what} has not happened")
        time.sleep(every)
    return value


class Device:
    """An RDMA device by its name; what is asked is read anew each time."""

    def __init__(self, name: str):
        self.name = name
        self.port = CLASS / name / "ports" / "1"

    def __repr__(self):
        return self.name

    def is_there(self) -> bool:
        return self.port.exists()

    def is_active(self) -> bool:
        return self._text("state").endswith("ACTIVE")

    def gids(self) -> dict:
        """RoCE v2 addresses that carry an IPv4 address, by index."""
        found = {}
        for file in (self.port / "gids").glob("*"):
            index = file.name
            gid = self._text(f"gids/{index}")
            if gid.startswith(IPV4_IN_GID) and self._text(f"gid_attrs/types/{index}") == ROCE_V2:
                found[int(index)] = ".".join(str(b) for b in bytes.fromhex(gid[len(IPV4_IN_GID):].replace(":", "")))
        return dict(sorted(found.items()))

    @property
    def gid_index(self) -> int:
        return next(iter(self.gids()))

    @property
    def address(self) -> str:
        return next(iter(self.gids().values()))

    def netdev(self) -> str:
        """The network interface below its first address."""
        return self._text(f"gid_attrs/ndevs/{self.gid_index}")

    def counters(self) -> dict:
        """The driver's own counters."""
        return {file.name: int(file.read_text()) for file in (self.port / "hw_counters").iterdir() if file.name != "lifespan"}

    def _text(self, name: str) -> str:
        # An unused entry of a table cannot be read: EINVAL.
        try:
            return (self.port / name).read_text().strip()
        except OSError:
            return ""


def active_devices() -> list:
    """Active devices with an IPv4 address, by name."""
    names = sorted(path.name for path in CLASS.iterdir()) if CLASS.exists() else []
    return [device for device in map(Device, names) if device.is_active() and device.gids()]


class RDMATest(unittest.TestCase):
    """A test on the machine's RDMA devices, in `self.devices`."""

    longMessage = True
    devices_min = 1

    @classmethod
    def setUpClass(cls):
        cls.devices = active_devices()
        if len(cls.devices) < cls.devices_min:
            absent(f"{cls.devices_min} active RDMA devices with an IPv4 address are needed here, there are {cls.devices}")


class FaultTest(RDMATest):
    """A test that breaks the cable between rxe0 and rxe1, `self.cable`; after each test it is whole again."""

    devices_min = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Only here: breaking another machine's network would be a surprise.
        from faults import Cable
        if not Cable.is_here() or not is_root():
            reason = "faults need the devices that Tests/rxe/setup-pair makes, and root"
            if is_guest():
                raise AssertionError(reason)
            raise unittest.SkipTest(reason)

    def setUp(self):
        from faults import Cable
        self.cable = Cable()
        self.addCleanup(self.cable.heal)


def absent(what: str):
    """Skips, or fails where a skip is a failure."""
    if is_required():
        raise AssertionError(f"MARTLET_RDMA=required, but {what}")
    raise unittest.SkipTest(what)
