"""Each fault does what it says, and its inverse undoes it: what the tests of failures are built on."""

import unittest

from devices import FaultTest, wait_until
from faults import Cable, Datagrams, whole
from perftest import ReadBandwidth

MANY = 1000


class Impairments(FaultTest):

    def test_a_whole_cable_loses_nothing(self):
        for source, target in (self.cable.ends, reversed(self.cable.ends)):
            before = target.received_bytes()
            seen = Datagrams(source, target, MANY)
            self.assertEqual(seen.order, list(range(MANY)))
            self.assertEqual(seen.damaged, 0)
            self.assertGreaterEqual(
                target.received_bytes() - before, MANY * Datagrams.PAYLOAD_BYTES, "they took another way than the cable")

    def test_loss(self):
        self.cable.left.impair(loss=20)
        seen = Datagrams(*self.cable.ends, MANY)
        dropped = self.cable.left.impairment()["drops"]
        print(f"\nloss of 20 %: {seen.arrived} of {MANY} arrived, {dropped} dropped")
        self.assertEqual(seen.arrived + dropped, MANY)
        self.assertTrue(100 < dropped < 300, f"{dropped} dropped of {MANY}")
        self.assertEqual(Datagrams(*reversed(self.cable.ends), MANY).arrived, MANY, "the other direction is not impaired")
        self.cable.left.unimpair()
        self.assertEqual(Datagrams(*self.cable.ends, MANY).arrived, MANY)

    def test_corruption(self):
        self.cable.left.impair(corrupt=20)
        seen = Datagrams(*self.cable.ends, MANY)
        print(f"\ncorruption of 20 %: {seen.arrived} of {MANY} whole, {seen.damaged} damaged")
        self.assertGreater(seen.damaged, 0)
        # A damaged header never arrives; a damaged payload does.
        self.assertTrue(700 < seen.arrived < 900, f"{seen.arrived} whole of {MANY}")

    def test_duplicates(self):
        self.cable.left.impair(duplicate=20)
        seen = Datagrams(*self.cable.ends, MANY)
        print(f"\nduplicates of 20 %: {seen.arrived} arrived, {seen.twice} of them twice")
        self.assertEqual(seen.arrived, MANY)
        self.assertTrue(100 < seen.twice < 300, f"{seen.twice} twice of {MANY}")

    def test_reordering(self):
        self.cable.left.impair(reorder=25)
        seen = Datagrams(*self.cable.ends, MANY)
        print(f"\nreordering of 25 %: {seen.arrived} arrived, {seen.overtaken} of them overtaken")
        self.assertEqual(seen.arrived, MANY)
        self.assertGreater(seen.overtaken, 0)

    def test_delay(self):
        self.cable.left.impair(delay_ms=50)
        seen = Datagrams(*self.cable.ends, 100)
        print(f"\ndelay of 50 ms: {min(seen.delays):.1f} to {max(seen.delays):.1f} ms")
        self.assertEqual(seen.arrived, 100)
        self.assertGreaterEqual(min(seen.delays), 49)


class LinkAndAddress(FaultTest):

    def test_link_down_and_up(self):
        left, right = self.cable.ends
        with left.events() as left_events, right.events() as right_events:
            right.link_down()
            for events in (left_events, right_events):
                events.wait_for("PORT_ERR")
            for end in self.cable.ends:
                self.assertFalse(end.device.is_active())
            self.assertEqual(Datagrams(left, right, 20).arrived, 0)
            right.link_up()
            for events in (left_events, right_events):
                events.wait_for("PORT_ACTIVE")
            for end in self.cable.ends:
                self.assertTrue(end.device.is_active())
        whole(self.cable)

    def test_address_removed_and_added(self):
        left, right = self.cable.ends
        with right.events() as events:
            right.remove_address()
            events.wait_for("GID_CHANGE")
            wait_until("the address is gone", lambda: not right.has_address())
            self.assertTrue(right.device.is_active(), "the port is as it was")
            right.add_address()
        whole(self.cable)
        self.assertGreater(self.bytes_read(), 0)

    def test_devices_deleted_and_added(self):
        self.cable.delete()
        self.cable.wait_deleted()
        self.assertFalse(Cable.is_here())
        self.cable.create()
        self.assertTrue(Cable.is_here())
        whole(self.cable)
        self.assertGreater(self.bytes_read(), 0)

    def test_devices_deleted_while_a_program_has_one_open(self):
        with self.cable.right.events() as events:
            self.cable.delete()
            events.wait_for("GID_CHANGE")
            wait_until("its port answers nothing", lambda: not self.cable.right.device.is_active())
            self.assertFalse(self.cable.is_deleted(), "the open device has not delayed its deletion")
            print(f"\nevents of a device whose interface is deleted: {events.names()}")
        self.cable.wait_deleted()
        self.cable.create()
        whole(self.cable)
        self.assertGreater(self.bytes_read(), 0)

    def test_heal_undoes_everything(self):
        left, right = self.cable.ends
        left.impair(loss=100)
        right.remove_address()
        left.link_down()
        self.cable.heal()
        whole(self.cable)
        self.cable.delete()
        self.cable.heal()
        self.assertTrue(Cable.is_here())
        whole(self.cable)

    def bytes_read(self) -> int:
        """Bytes that cross the cable while one device reads the other."""
        before = self.cable.left.received_bytes()
        ReadBandwidth(self.cable.left.device, self.cable.right.device, 1 << 20, 20)
        return self.cable.left.received_bytes() - before


class Reads(FaultTest):
    """What the driver makes of an impaired cable: slow, and right."""

    SIZE, COUNT = 256 << 10, 100

    def measure(self) -> tuple:
        left, right = self.cable.ends
        before = left.counters(), left.received_bytes()
        measured = ReadBandwidth(left.device, right.device, self.SIZE, self.COUNT)
        after = left.counters()
        grown = {name: after[name] - before[0][name] for name in after if after[name] != before[0][name]}
        self.assertGreaterEqual(left.received_bytes() - before[1], measured.bytes, "not all bytes have crossed the cable")
        return measured, grown

    def test_reads_over_an_impaired_cable(self):
        measured, counters = self.measure()
        print(f"\nwhole: {measured}; {counters}")
        for impairment in ({"loss": 0.5}, {"corrupt": 0.5}, {"duplicate": 5}, {"delay_ms": 1}):
            self.cable.right.impair(**impairment)
            measured, counters = self.measure()
            print(f"{impairment}: {measured}; {counters}")
            if "loss" in impairment or "corrupt" in impairment:
                self.assertGreater(
                    counters.get("completer_retry_err", 0) + counters.get("rcvd_seq_err", 0), 0, "nothing was read again")
            self.cable.right.unimpair()


if __name__ == "__main__":
    unittest.main()
