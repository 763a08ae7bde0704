"""Faults of the cable between two RDMA devices of a guest, each with its inverse.

A cable is a veth pair as Tests/rxe/setup-pair makes it: cable 0 joins rxe0 (v0, 10.9.0.1), its left end, and rxe1 (v1,
10.9.0.2), its right one; cable 1 joins rxe2 and rxe3; and so on. What one end sends to the other really crosses it. All of
this needs root. Every method returns when the kernel has done it; what RDMA then makes of it comes later, as events.
"""

import json
import os
import pathlib
import re
import select
import socket
import subprocess
import time
import zlib

from devices import CLASS, ROOT, Device, run, wait_until

SETUP = ROOT / "Tests" / "rxe" / "setup-pair"
NET = pathlib.Path("/sys/class/net")


class End:
    """One end of a cable: a network interface with an address, and the RDMA device on it."""

    def __init__(self, pair: int, side: int):
        number = 2 * pair + side
        self.netdev = f"v{number}"
        self.device = Device(f"rxe{number}")
        self.address = f"10.9.{pair}.{side + 1}"
        self.far_address = f"10.9.{pair}.{2 - side}"
        self._table = 100 + number

    def __repr__(self):
        return f"{self.device}/{self.netdev}"

    # -- the link

    def link_down(self):
        """Takes the interface down: the other end loses its carrier, and both devices say PORT_ERR."""
        run("ip", "link", "set", self.netdev, "down")

    def link_up(self):
        """Takes it up again, with the route that going down has removed: both devices say PORT_ACTIVE."""
        run("ip", "link", "set", self.netdev, "up")
        self._restore_route()

    # -- what is sent

    def impair(self, loss: float = 0, corrupt: float = 0, duplicate: float = 0, reorder: float = 0, delay_ms: float = 0):
        """Of what this end sends, percents are lost, get a bit flipped, come twice, or overtake the rest, which `delay_ms`
        delays (10 ms, if only `reorder` is given). Replaces an earlier impairment."""
        if reorder and not delay_ms:
            delay_ms = 10
        words = []
        if delay_ms:
            words += ["delay", f"{delay_ms}ms"]
        for name, percent in (("loss", loss), ("corrupt", corrupt), ("duplicate", duplicate), ("reorder", reorder)):
            if percent:
                words += [name, f"{percent}%"]
        if not words:
            raise ValueError("an impairment that impairs nothing")
        # The default limit of 1000 packets would lose others besides.
        run("tc", "qdisc", "replace", "dev", self.netdev, "root", "netem", *words, "limit", "100000")

    def unimpair(self):
        """What this end sends arrives again; what was delayed until now is lost."""
        if self.impairment():
            run("tc", "qdisc", "del", "dev", self.netdev, "root")

    def impairment(self) -> dict:
        """What tc says about it, with its counts; empty where nothing is impaired."""
        described = json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", self.netdev))
        return next((entry for entry in described if entry.get("kind") == "netem"), {})

    # -- the address

    def remove_address(self):
        """Takes the address away: the device says GID_CHANGE, and what is sent to it is lost."""
        run("ip", "addr", "del", f"{self.address}/24", "dev", self.netdev)

    def add_address(self):
        """Gives it back, and waits until the device has it in its table."""
        run("ip", "addr", "replace", f"{self.address}/24", "dev", self.netdev)
        self._restore_route()
        wait_until(f"{self.device} has {self.address}", self.has_address)

    def has_address(self) -> bool:
        return self.address in self.device.gids().values()

    def _restore_route(self):
        """The route over the cable, which goes with the link and with the address, once both are there."""
        (link,) = json.loads(run("ip", "-j", "addr", "show", "dev", self.netdev))
        addresses = [entry.get("local") for entry in link["addr_info"]]
        if "UP" not in link["flags"] or self.address not in addresses:
            return
        run("ip", "route", "replace", self.far_address, "dev", self.netdev, "src", self.address, "table", self._table)

    # -- what it sees

    def sent_bytes(self) -> int:
        return int((NET / self.netdev / "statistics" / "tx_bytes").read_text())

    def received_bytes(self) -> int:
        return int((NET / self.netdev / "statistics" / "rx_bytes").read_text())

    def counters(self) -> dict:
        """The RDMA driver's counters."""
        return self.device.counters()

    def events(self) -> "Events":
        """The device's asynchronous events from now on; use as a context manager."""
        return Events(self.device)


class Cable:
    """Two ends."""

    def __init__(self, pair: int = 0):
        self.pair = pair
        self.left, self.right = End(pair, 0), End(pair, 1)
        self.ends = (self.left, self.right)
        self._deletion = None

    @staticmethod
    def is_here(pair: int = 0) -> bool:
        """Whether this machine has the cable."""
        return all(
            end.device.is_there() and (NET / end.netdev).exists() and end.has_address() for end in Cable(pair).ends)

    def is_there(self) -> bool:
        return all((NET / end.netdev).exists() for end in self.ends)

    def delete(self):
        """Deletes both interfaces, like pulling the cards. Requests that are posted are flushed at once.

        The devices say GID_CHANGE and nothing else (no PORT_ERR, no DEVICE_FATAL); a source, which has posted nothing,
        hears only that. The RDMA devices go when no program has them open any more (rxe cannot take them away): until
        then they are listed and answer nothing. `wait_deleted` waits for that, and only then can `create` add them again.
        """
        self._deletion = subprocess.Popen(
            ["ip", "link", "del", self.left.netdev], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        wait_until(f"{self.left.netdev} and {self.right.netdev} are gone", lambda: not any(
            (NET / end.netdev).exists() for end in self.ends))

    def is_deleted(self) -> bool:
        """Whether a deletion has come to its end: no program holds the devices."""
        return (self._deletion is None or self._deletion.poll() is not None) and not any(
            (CLASS / end.device.name).exists() for end in self.ends)

    def wait_deleted(self, limit: float = 20):
        """Until the devices are gone, which every program that has them open delays."""
        wait_until(f"{self.left.device} and {self.right.device} are closed by everybody", self.is_deleted, limit)
        if self._deletion:
            said = self._deletion.communicate()[0]
            if self._deletion.returncode != 0:
                raise AssertionError(f"ip link del ended with {self._deletion.returncode}: {said}")
            self._deletion = None

    def create(self):
        """Adds both again, after `wait_deleted`: the same names and addresses, new devices."""
        run("bash", SETUP, self.pair)

    def heal(self):
        """Whatever was done to it is undone, and both devices are active."""
        if not self.is_there():
            self.wait_deleted()
            self.create()
        for end in self.ends:
            end.unimpair()
            end.link_up()
            end.add_address()
        for end in self.ends:
            wait_until(f"{end.device} is active", end.device.is_active)


class Events:
    """Watches a device's asynchronous events, with ibv_asyncwatch."""

    def __init__(self, device: Device):
        self.device = device
        self.seen = []
        self._said = ""
        self._popen = None

    def __enter__(self):
        # stdbuf: it would keep what it says to a pipe for itself.
        self._popen = subprocess.Popen(
            ["stdbuf", "-oL", "ibv_asyncwatch", "-d", self.device.name], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self._popen.stdout.fileno(), False)
        wait_until(f"ibv_asyncwatch watches {self.device}", lambda: "async event FD" in self._read())
        return self

    def __exit__(self, *_):
        self._popen.kill()
        self._popen.wait(10)
        self._popen.stdout.close()

    def wait_for(self, name: str, limit: float = 20):
        """Until an event of this name (PORT_ERR, PORT_ACTIVE, GID_CHANGE, DEVICE_FATAL, …) has come."""
        wait_until(f"{name} on {self.device} (seen: {self.names()})", lambda: name in self.names(), limit)

    def names(self) -> list:
        return re.findall(r"IBV_EVENT_(\w+)", self._read())

    def _read(self) -> str:
        try:
            while chunk := os.read(self._popen.stdout.fileno(), 1 << 16):
                self._said += chunk.decode(errors="replace")
        except BlockingIOError:
            pass
        return self._said


class Datagrams:
    """What arrived of numbered datagrams that one end sent to the other."""

    PAYLOAD_BYTES = 1000
    BURST = 20
    QUIET_S = 0.3
    # linux/socket.h: no UDP checksum, so that damage arrives instead of vanishing.
    SO_NO_CHECK = 11

    def __init__(self, source: End, target: End, count: int = 200):
        self.sent, self.damaged, self.order, self.delays = 0, 0, [], []
        self._filling = bytes(range(256)) * (self.PAYLOAD_BYTES // 256 + 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
            out.setsockopt(socket.SOL_SOCKET, self.SO_NO_CHECK, 1)
            out.bind((source.address, 0))
            into.bind((target.address, 0))
            into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            into.setblocking(False)
            for number in range(count):
                try:
                    out.sendto(self._datagram(number), into.getsockname())
                except OSError:
                    pass  # A link that is down refuses some; they did not arrive either.
                self.sent += 1
                if number % self.BURST == 0:
                    self._receive(into, 0)
            self._receive(into, self.QUIET_S)

    @property
    def arrived(self) -> int:
        """How many arrived whole, each counted once."""
        return len(set(self.order))

    @property
    def twice(self) -> int:
        return len(self.order) - self.arrived

    @property
    def overtaken(self) -> int:
        """How many arrived after one that was sent later."""
        late, newest = 0, -1
        for number in self.order:
            late += number < newest
            newest = max(newest, number)
        return late

    def _datagram(self, number: int) -> bytes:
        body = number.to_bytes(4, "big") + time.monotonic_ns().to_bytes(8, "big")
        body += self._filling[: self.PAYLOAD_BYTES - len(body)]
        return body + zlib.crc32(body).to_bytes(4, "big")

    def _receive(self, into: socket.socket, quiet: float):
        while select.select([into], [], [], quiet)[0]:
            got = into.recv(2048)
            if zlib.crc32(got[:-4]) != int.from_bytes(got[-4:], "big"):
                self.damaged += 1
                continue
            self.order.append(int.from_bytes(got[:4], "big"))
            self.delays.append((time.monotonic_ns() - int.from_bytes(got[4:12], "big")) / 1e6)


def whole(cable: Cable, limit: float = 20):
    """Until datagrams cross the cable in both directions: addresses are resolved anew after some faults."""
    for source, target in (cable.ends, reversed(cable.ends)):
        wait_until(f"{target} hears {source}", lambda s=source, t=target: Datagrams(s, t, 3).arrived == 3, limit)
