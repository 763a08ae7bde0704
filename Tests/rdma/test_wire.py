"""A hostile reader, with raw verbs, against a source: what a lease grants and what it does not, and what bad handshakes do.

All the time a well-behaved reader on another link of the same source goes on reading: none of what the hostile one does
takes its link down or brings it a wrong byte, and the source keeps within its bounds.

MARTLET_WIRE_CASES names some of the cases (separated by commas; default: all).
"""

import os
import unittest

import programs
from devices import RDMATest

CASE_LIMIT_S = 240
# What the source may grow by under any attack.
GROWTH_MB = 96
SLOTS = 16
SLOT_BYTES = 256 << 10
# That the source may have; a quarter of them with one host.
LINKS = 256


class Wire(RDMATest):

    devices_min = 2

    def attack(self, lease: str, cases: str = "all", sweep: int = 2048):
        right, left = self.devices[1], self.devices[0]
        source = programs.source(left, test=self, lease=lease, slots=SLOTS, slot_bytes=SLOT_BYTES, links=LINKS)
        reader = programs.reader(
            right, f"{left.address}:{source.port}", test=self, slots=SLOTS, slot_bytes=SLOT_BYTES, depth=2, name="good")
        reader.wait_for("round", 60)
        before_mb = source.resident_mb()
        kind = lease
        if lease == "probed":
            kind = "window" if "leases by window" in source.ready["enforcement"] else "region"
        hostile = programs.Process(
            "hostile", "attack", test=self, device=right.name, source=f"{left.address}:{source.port}",
            other_way=f"127.0.0.1:{source.port}", leases=kind, slots=SLOTS, slot_bytes=SLOT_BYTES, seed=programs.SEED,
            sweep=sweep, cases=cases, links=LINKS)
        hostile.wait_for("ready", 60, since=0)
        cases, bad = 0, []
        print(f"\nleases: {lease} ({source.ready['enforcement']})")
        print(f"{'case':28} {'':6} {'ms':>7} {'read':>5} {'MiB+':>5}  how requests ended; notes")
        while True:
            event = hostile.wait_for_any(("begin", "eof", "failed"), CASE_LIMIT_S)
            if event["event"] != "begin":
                break
            fetched = reader.last("progress", "round").get("fetched", 0)
            case = hostile.wait_for_any(("case", "eof", "failed"), CASE_LIMIT_S)
            name = event["case"]
            if case["event"] != "case":
                self.fail(f"{name}: the hostile reader ended: {hostile.told()}\nsource: {source.told()}")
            self.assertTrue(source.is_running(), f"{name}: the source died ({source.end_code()}): {source.told()}")
            # However long the case took: bytes go on coming after it too.
            reader.wait_for("progress", 60, lambda told: told["fetched"] > fetched)
            now = reader.last("progress", "round")
            if now["downs"] or now["wrong"] or now["failed"]:
                bad.append(f"{name}: the well-behaved reader saw {now}: {reader.told()}")
            growth = source.resident_mb() - before_mb
            if growth > GROWTH_MB:
                bad.append(f"{name}: the source has grown by {growth:.0f} MiB")
            if not case["ok"]:
                bad.append(f"{name}: {case['objections'][:1500]}")
            cases += 1
            told = "; ".join(filter(None, (case["ends"], case["notes"])))
            print(f"{name:28} {'held' if case['ok'] else 'BROKEN':6} {case['took']:7} {now['fetched'] - fetched:5} {growth:5.0f}  {told}")
        source.drain()
        source.type("stop")
        stopped = source.wait_for("stopped", 60)
        self.assertEqual(stopped["different"], 0, "bytes of the source have changed")
        self.assertEqual(bad, [])
        self.assertGreater(cases, 0)

    def test_regions(self):
        self.attack("region", cases=os.environ.get("MARTLET_WIRE_CASES", "all"))

    def test_as_probed(self):
        self.attack("probed", cases="a lease is read,an ended lease,outside,stolen,WRITE", sweep=64)

    def test_windows(self):
        self.attack("window", cases="a lease is read,an ended lease,outside,stolen,WRITE,own queue pairs,forged", sweep=512)


if __name__ == "__main__":
    unittest.main()
