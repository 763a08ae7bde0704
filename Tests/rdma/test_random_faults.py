"""Many faults under live links, drawn from a seed.

MARTLET_SEED repeats a run; MARTLET_FAULTS says how many (100).
"""

import os
import random
import time
import unittest

import faults
import programs
from bench import DEPTH, LIMIT, SLOT_BYTES, SLOTS, Bench


class RandomFaults(Bench):

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
        # Flaps are among the faults: see test_link_flaps.
        told = self.audit(steady, wrong_may_arrive=True)
        self.audit(self.mortal, wrong_may_arrive=True)
        took = time.monotonic() - began
        kinds_told = ", ".join(f"{count} × {name}" for name, count in sorted(self.counts.items()))
        print(f"{count} faults in {took:.0f} s ({kinds_told}): {told['fetched']} slots of {SLOT_BYTES >> 20} MiB verified, "
              f"none twice, {told['wrong']} that came wrong were caught and fetched again; {told['downs']} links ended, {told['failed']} reads failed, "
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
        self.mortal = self.started(lambda: programs.reader(
            self.right.device, f"{self.left.address}:{self.port}", test=self, name="mortal", slots=SLOTS,
            slot_bytes=SLOT_BYTES, depth=DEPTH))

    def kill_source(self, _):
        self.source.kill()
        self.source.end()
        time.sleep(self.random.uniform(0, 0.5))
        self.restart_source()

    def started(self, start):
        """Something that needs the device at its start, which may just be away: until it is there."""
        end = time.monotonic() + LIMIT
        while True:
            process = start()
            if process.wait_for_any(("ready", "failed"), LIMIT)["event"] == "ready":
                return process
            self.assertLess(time.monotonic(), end, process.told())
            time.sleep(0.1)

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
        faults.whole(self.cable, LIMIT)


if __name__ == "__main__":
    unittest.main()
