"""Faults under live links, one by one: how long until it is known, how long until bytes move again, and what it cost.

A source and well-behaved readers (`rdma-hostile source` and `reader`) on Martlet's verbs transport, without what is above
it: a reader fetches the source's slots over and over, each until it was verified once in a round and never again. After
every fault: no wrong byte, and nothing fetched twice that had been verified before. Times are printed and never asserted,
but everything has a limit.
"""

import os
import random
import time
import unittest

import faults
import programs
from devices import FaultTest, run, wait_until

# Everything that has to happen happens by then, on the slowest machine.
LIMIT = int(os.environ.get("MARTLET_FAULT_LIMIT_S") or 60)
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


class TransportFaults(FaultTest):

    def setUp(self):
        super().setUp()
        self.left, self.right = self.cable.ends

    def start(self, readers: int = 1, **settings):
        self.source = programs.source(self.left.device, test=self, slots=SLOTS, slot_bytes=SLOT_BYTES)
        self.port = self.source.port
        return [self.start_reader(f"reader{i}", **settings) for i in range(readers)]

    def start_reader(self, name="reader", **settings):
        reader = programs.reader(
            self.right.device, f"{self.left.address}:{self.port}", test=self, name=name, slots=SLOTS,
            slot_bytes=SLOT_BYTES, depth=DEPTH, **settings)
        reader.wait_for("progress", LIMIT, lambda told: told["fetched"] >= 4, since=0)
        return reader

    def restart_source(self):
        self.source = programs.source(
            self.left.device, test=self, port=self.port, slots=SLOTS, slot_bytes=SLOT_BYTES)

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

    def audit(self, reader) -> dict:
        """Ends a reader, and looks at what it has counted."""
        reader.drain()
        reader.type("stop")
        told = reader.wait_for("stopped", LIMIT)
        self.assertEqual(told["wrong"], 0, "wrong bytes")
        self.assertEqual(
            told["fetched"], told["round"] * SLOTS + told["verified"], "something verified was fetched again")
        # What READs brought beyond that belongs to slots whose reads then failed, or were under way at the end.
        self.assertGreaterEqual(told["received"], told["fetched"] * SLOT_BYTES)
        self.assertLessEqual(told["received"], (told["fetched"] + told["failed"] + DEPTH) * SLOT_BYTES)
        self.source.drain()
        if self.source.is_running():
            self.source.type("check")
            self.assertEqual(self.source.wait_for("checked", LIMIT)["different"], 0, "the source's bytes have changed")
        return told

    # -- processes

    def test_reader_killed(self):
        killed, other = self.start(readers=2)
        other.drain()
        row = Row("reader killed in the middle of READs")
        killed.kill()
        row.detected = at(self.source.wait_for("down", LIMIT, lambda told: at(told) >= row.began))
        row.recovered = self.moved(other, row.began)
        self.assertEqual(other.last("progress")["downs"], 0, "another reader's link went with it")
        # Its place is free for it again.
        again = self.start_reader("again")
        row.note = f"the other reader's link stayed up; a new reader read {self.audit(again)['fetched']} slots"
        self.assertEqual(self.audit(other)["failed"], 0)
        row.tell()

    def test_source_killed(self):
        (reader,) = self.start()
        row = Row("source killed")
        self.source.kill()
        row.detected = at(self.down(reader, row.began))
        self.restart_source()
        row.healed = at(self.source.ready)
        row.recovered = self.moved(reader, row.healed)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    # -- the cable

    def test_link_down_and_up(self):
        (reader,) = self.start()
        row = Row("link down for 5 s")
        self.right.link_down()
        row.detected = at(self.down(reader, row.began))
        time.sleep(max(0, 5 - (time.monotonic() - row.began)))
        self.right.link_up()
        row.healed = time.monotonic()
        row.recovered = self.moved(reader, row.healed)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    def test_link_flaps(self):
        (reader,) = self.start()
        row = Row("link of the source down for 0.2 s, five times")
        for _ in range(5):
            self.left.link_down()
            time.sleep(0.2)
            self.left.link_up()
            time.sleep(0.3)
        row.healed = time.monotonic()
        row.recovered = self.moved(reader, row.healed)
        told = self.audit(reader)
        row.note = f"{told['downs']} links ended, {told['failed']} reads failed"
        row.tell()

    def test_address_goes_and_comes(self):
        (reader,) = self.start()
        row = Row("address of the source's device removed for 3 s")
        self.left.remove_address()
        # Its control stream too went to that address: whatever is known first.
        row.detected = at(self.down(reader, row.began))
        time.sleep(max(0, 3 - (time.monotonic() - row.began)))
        self.left.add_address()
        row.healed = time.monotonic()
        row.recovered = self.moved(reader, row.healed)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    def test_devices_deleted_and_added(self):
        (reader,) = self.start()
        row = Row("interfaces under both RDMA devices deleted, then added again")
        self.cable.delete()
        row.detected = at(self.down(reader, row.began))
        deleted = time.monotonic()
        # Only once both programs have closed their devices.
        self.cable.wait_deleted(LIMIT)
        row.note = f"devices closed by both {time.monotonic() - deleted:.2f} s later"
        self.cable.create()
        row.healed = time.monotonic()
        row.recovered = self.moved(reader, row.healed)
        told = self.audit(reader)
        self.assertGreaterEqual(told["reopened"], 1)
        row.note += f"; {told['failed']} reads failed"
        row.tell()

    def test_lossy_cable(self):
        (reader,) = self.start()
        row = Row("every packet lost in one direction, for 3 s")
        self.left.impair(loss=100)
        row.detected = at(self.down(reader, row.began))
        time.sleep(max(0, 3 - (time.monotonic() - row.began)))
        self.left.unimpair()
        row.healed = time.monotonic()
        row.recovered = self.moved(reader, row.healed)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    # -- queue pairs and memory

    def test_queue_pairs_fail_at_the_reader(self):
        (reader,) = self.start()
        row = Row("reader's queue pairs forced to ERR")
        reader.drain()
        reader.type("fail")
        row.detected = at(self.down(reader, row.began))
        row.recovered = self.moved(reader, row.detected)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    def test_queue_pairs_fail_at_the_source(self):
        (reader,) = self.start()
        row = Row("source's queue pairs forced to ERR")
        self.source.type("fail")
        row.detected = at(self.down(reader, row.began))
        row.recovered = self.moved(reader, row.detected)
        row.note = f"{self.audit(reader)['failed']} reads failed"
        row.tell()

    def test_memory_lock_limit_too_low(self):
        (reader,) = self.start()
        poor = programs.Process(
            "poor", "reader", test=self, memlock_kb=512, device=self.right.device.name, seed=programs.SEED,
            slots=SLOTS, slot_bytes=SLOT_BYTES, **{"from": f"rdma:{self.left.address}:{self.port}"})
        reason = poor.wait_for("failed", LIMIT, since=0)["reason"]
        self.assertIn("LimitMEMLOCK", reason)
        wait_until("the program has ended", lambda: not poor.is_running(), LIMIT)
        print(f"\nmemlock too low: {reason}")
        self.moved(reader, time.monotonic())
        self.assertEqual(self.audit(reader)["downs"], 0)

    def test_registration_fails_half_way(self):
        (reader,) = self.start()
        # Four parts, of which the limit lets one or two in; what was pinned of them is let go.
        poor = programs.Process(
            "poor", "reader", test=self, memlock_kb=(SLOTS * SLOT_BYTES * 5 // 8) >> 10, device=self.right.device.name,
            seed=programs.SEED, slots=SLOTS, slot_bytes=SLOT_BYTES, parts=4,
            **{"from": f"rdma:{self.left.address}:{self.port}"})
        told = poor.wait_for("unregistered", LIMIT, since=0)
        self.assertGreater(told["registered"], 0, "not even the first part was registered")
        self.assertLess(told["registered"], 4, "everything was registered")
        print(f"\nregistration failing half way: {told['registered']} of 4 parts; {told['reason']}")
        # It goes on with what it has.
        poor.wait_for("progress", LIMIT, lambda event: event["fetched"] >= SLOTS)
        self.moved(reader, time.monotonic())
        self.assertEqual(self.audit(reader)["downs"], 0)


class RandomFaults(TransportFaults):
    """Many faults in one run, drawn from a seed: MARTLET_SEED repeats one, MARTLET_FAULTS says how many (100)."""

    def test_random_faults(self):
        seed = int(os.environ.get("MARTLET_SEED") or random.SystemRandom().randrange(1 << 32))
        count = int(os.environ.get("MARTLET_FAULTS") or 100)
        print(f"\nseed {seed}: {count} random faults", flush=True)
        self.random = random.Random(seed)
        steady, mortal = self.start(readers=2)
        self.mortal, self.counts = mortal, {}
        began = time.monotonic()
        kinds = {
            self.flap: 20, self.lose: 15, self.damage: 15, self.fail_reader: 12, self.fail_source: 12,
            self.kill_reader: 10, self.kill_source: 6, self.move_address: 6, self.replug: 4}
        for number in range(count):
            fault = self.random.choices(list(kinds), list(kinds.values()))[0]
            self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
            steady.drain()
            self.mortal.drain()
            try:
                fault(steady)
                # Before the next one, or not.
                if self.random.random() < 0.5:
                    self.moved(steady, time.monotonic(), 1)
                else:
                    time.sleep(self.random.uniform(0, 0.3))
            except AssertionError as failure:
                self.fail(f"seed {seed}, fault {number} ({fault.__name__}): {failure}")
        self.moved(steady, time.monotonic())
        self.moved(self.mortal, time.monotonic())
        told = self.audit(steady)
        self.audit(self.mortal)
        took = time.monotonic() - began
        kinds_told = ", ".join(f"{count} × {name}" for name, count in sorted(self.counts.items()))
        print(f"{count} faults in {took:.0f} s ({kinds_told}): {told['fetched']} slots of {SLOT_BYTES >> 20} MiB verified, "
              f"none wrong, none twice; {told['downs']} links ended, {told['failed']} reads failed, "
              f"the device was opened again {told['reopened']} times", flush=True)

    def end(self):
        return self.random.choice(self.cable.ends)

    def flap(self, _):
        end = self.end()
        end.link_down()
        time.sleep(self.random.uniform(0.05, 1.0))
        end.link_up()

    def lose(self, _):
        end = self.end()
        end.impair(loss=self.random.choice([1, 10, 50, 100]))
        time.sleep(self.random.uniform(0.1, 1.0))
        end.unimpair()

    def damage(self, _):
        end = self.end()
        end.impair(corrupt=self.random.choice([0, 1, 10]), duplicate=self.random.choice([0, 5]), reorder=25, delay_ms=2)
        time.sleep(self.random.uniform(0.1, 1.0))
        end.unimpair()

    def fail_reader(self, steady):
        self.random.choice([steady, self.mortal]).type("fail")

    def fail_source(self, _):
        self.source.type("fail")

    def kill_reader(self, _):
        self.mortal.kill()
        self.mortal.end()
        self.mortal = programs.reader(
            self.right.device, f"{self.left.address}:{self.port}", test=self, name="mortal", slots=SLOTS,
            slot_bytes=SLOT_BYTES, depth=DEPTH)

    def kill_source(self, _):
        self.source.kill()
        self.source.end()
        time.sleep(self.random.uniform(0, 0.5))
        self.restart_source()

    def move_address(self, _):
        end = self.end()
        end.remove_address()
        time.sleep(self.random.uniform(0.05, 0.5))
        end.add_address()

    def replug(self, _):
        self.cable.delete()
        self.cable.wait_deleted(LIMIT)
        time.sleep(self.random.uniform(0, 0.5))
        self.cable.create()
        # A program that was just started, or opened its device again just then, may have missed it and ended.
        faults.whole(self.cable, LIMIT)


if __name__ == "__main__":
    unittest.main()
