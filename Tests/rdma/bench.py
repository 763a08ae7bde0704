"""A source and well-behaved readers on the two ends of a cable, and what is told of a fault between them.

They are `rdma-hostile source` and `reader`: Martlet's verbs transport without what is above it. A reader fetches the
source's slots over and over, each until it was verified once in a round and never again; so after any fault nothing may be
wrong, and nothing that was verified may have been fetched twice. Times are printed and never asserted, but everything has a
limit: MARTLET_FAULT_LIMIT_S (60). MARTLET_LEASE forces a kind of lease (window, region).
"""

import os
import time

import devices
import programs
from devices import FaultTest

# Everything that has to happen happens by then, on the slowest machine.
LIMIT = int(os.environ.get("MARTLET_FAULT_LIMIT_S") or 60)
LEASE = os.environ.get("MARTLET_LEASE") or "probed"
SLOTS = 16
SLOT_BYTES = 1 << 20
# Slots that a reader has under way on a link.
DEPTH = 4


class Row:
    """A fault's line in the table."""

    def __init__(self, name: str):
        self.name, self.began = name, time.monotonic()
        self.detected = self.healed = self.recovered = None
        self.note = ""

    def tell(self):
        def text(since, at):
            return "-" if at is None or since is None else f"{max(0, at - since):8.2f} s"
        print(f"\n{self.name}: known after {text(self.began, self.detected)}, "
              f"bytes again after {text(self.healed or self.began, self.recovered)}"
              f"{' (counted from its end)' if self.healed else ''}{'; ' if self.note else ''}{self.note}", flush=True)


def at(event: dict) -> float:
    """When it was told, by the clock all processes of a machine share."""
    return event["ms"] / 1000


class Bench(FaultTest):
    """A source at the cable's left end, readers at its right one."""

    def setUp(self):
        super().setUp()
        self.left, self.right = self.cable.ends

    def start(self, readers: int = 1, **settings):
        self.source = programs.source(self.left.device, test=self, lease=LEASE, slots=SLOTS, slot_bytes=SLOT_BYTES)
        self.port = self.source.port
        return [self.start_reader(f"reader{i}", **settings) for i in range(readers)]

    def start_reader(self, name="reader", **settings):
        reader = programs.reader(
            self.right.device, f"{self.left.address}:{self.port}", test=self, name=name, slots=SLOTS,
            slot_bytes=SLOT_BYTES, depth=DEPTH, **settings)
        reader.wait_for("progress", LIMIT, lambda told: told["fetched"] >= 4, since=0)
        return reader

    def restart_source(self):
        end = time.monotonic() + LIMIT
        while True:
            try:
                self.source = programs.source(
                    self.left.device, test=self, port=self.port, lease=LEASE, slots=SLOTS,
                    slot_bytes=SLOT_BYTES)
                return
            except AssertionError:
                # The device may be away just then.
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def moved(self, reader, since: float, more: int = 2) -> float:
        """When bytes have come to a reader that were fetched after a moment."""
        first = reader.wait_for("progress", LIMIT, lambda told: at(told) >= since)
        try:
            return at(reader.wait_for("progress", LIMIT, lambda told: told["fetched"] >= first["fetched"] + more))
        except AssertionError as failure:
            raise AssertionError(f"{failure}\nthe source: {self.source_state()}") from None

    def source_state(self) -> str:
        if self.source.is_running():
            self.source.drain()
            self.source.type("state")
            self.source.wait_for("state", LIMIT)
        return self.source.told()

    def down(self, reader, since: float) -> dict:
        """The event by which a reader knew that its link was over."""
        return reader.wait_for("down", LIMIT, lambda told: at(told) >= since, since=0)

    def audit(self, reader, wrong_may_arrive: bool = False) -> dict:
        """Ends a reader, and looks at what it has counted.

        `wrong_may_arrive`: READs that the driver reports as done may have brought nothing, as long as the digests caught
        it; otherwise that is a failure as well. It is a fault of rxe (Linux 6.12): when a packet of a READ's answer cannot be
        sent, the responder goes on with the next one, and the requester, which misses the first, ends the READ without
        giving it a status; 0 is success. The kernel warns of it, once, and in a guest that warning has to be there.
        """
        reader.drain()
        reader.type("stop")
        told = reader.wait_for("stopped", LIMIT)
        if not wrong_may_arrive:
            self.assertEqual(told["wrong"], 0, "wrong bytes")
        elif told["wrong"] and devices.is_guest():
            self.assertIn("rxe_completer", devices.run("dmesg"), "wrong bytes, and the driver has not warned of any")
        self.assertEqual(
            told["fetched"], told["round"] * SLOTS + told["verified"] + told["wrong"], "something verified was fetched again")
        # What READs brought beyond that belongs to slots whose reads then failed, or were under way at the end.
        self.assertGreaterEqual(told["received"], told["fetched"] * SLOT_BYTES)
        self.assertLessEqual(told["received"], (told["fetched"] + told["failed"] + told["wrong"] + DEPTH) * SLOT_BYTES)
        self.source.drain()
        if self.source.is_running():
            self.source.type("check")
            self.assertEqual(self.source.wait_for("checked", LIMIT)["different"], 0, "the source's bytes have changed")
        return told
