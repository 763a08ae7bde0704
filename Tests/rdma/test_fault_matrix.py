"""Faults under live links, one by one: how long until it is known, how long until bytes move again, and what it cost."""

import time
import unittest

import programs
from bench import LIMIT, SLOT_BYTES, SLOTS, Bench, Row, at
from devices import wait_until


class TransportFaults(Bench):

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
        # rxe reports READs as done that have brought nothing (see `audit`); the digest of each slot catches it.
        told = self.audit(reader, wrong_may_arrive=True)
        row.note = (
            f"{told['downs']} links ended, {told['failed']} reads failed, "
            f"{told['wrong']} slots came with wrong bytes, were caught and fetched again")
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

if __name__ == "__main__":
    unittest.main()
