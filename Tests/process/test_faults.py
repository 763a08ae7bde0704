"""Parents that lie or fall silent, and disks that fill up, by the fault switches of real processes."""

import os
import unittest

from case import ClusterTest
from models import MIB, write_model

# Short limits, so that a silent parent is found out within seconds.
IMPATIENT = {"MARTLET_SWARM_WANT_TIMEOUT": "500ms", "MARTLET_SWARM_PIECE_TIMEOUT": "3s"}


class Faults(ClusterTest):

    def with_faulty_parent(self, fault: str, size: int = 64 * MIB):
        """A seed, a peer that serves with the fault and holds the model already, and two peers that do not."""
        model = write_model(self.models, size=size)
        self.cluster.start_all(self.models, peers=0)
        faulty = self.cluster.start_peer("faulty", MARTLET_FAULT_TRANSPORT=fault)
        faulty.get(model.reference, to=self.place("faulty"))
        self.assert_placed(model, self.place("faulty"))
        return model, [self.cluster.start_peer(f"peer-{i + 1}", **IMPATIENT) for i in range(2)]

    def test_flipped_bits_are_detected_blamed_and_not_passed_on(self):
        model, peers = self.with_faulty_parent("corrupt-exports")
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        results = [get.result() for get in gets]
        for peer, result in zip(peers, results):
            # Nothing of the liar's is in the published files, and so nothing was served on.
            self.assert_placed(model, self.place(peer.name))
            self.assert_accounted(result, model)
            self.assertNotIn("faulty", {entry["host"] for entry in result["traffic"]["by_host"] if entry["bytes"]})
            self.assertLess(result["traffic"]["wasted_bytes"], model.bytes / 2, "the liar is excluded at once")
        # Whom the scheduler warned in time never asked the liar; somebody had to find out.
        self.assertTrue(any("faulty sent wrong bytes" in peer.said() for peer in peers), "nobody blamed the liar")
        self.assertGreater(sum(result["traffic"]["wasted_bytes"] for result in results), 0)
        self.assert_origin_read_once(model)
        # The blame is known in the cluster: whoever comes next gets the model as well.
        late = self.cluster.start_peer("late", **IMPATIENT)
        late.get(model.reference, to=self.place("late"))
        self.assert_placed(model, self.place("late"))
        self.assert_origin_read_once(model)

    def test_parent_that_never_answers_is_bypassed(self):
        self.bypasses("swallow-sends")

    def test_parent_that_falls_silent_is_bypassed(self):
        self.bypasses("freeze-after-exports=2")

    def bypasses(self, fault: str):
        model, peers = self.with_faulty_parent(fault)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        for peer, get in zip(peers, gets):
            # The limit is a multiple of what the time-outs add up to: a machine may be slow, a download may not hang.
            result = get.result(limit=60)
            self.assert_placed(model, self.place(peer.name))
            self.assert_accounted(result, model)
        self.assert_origin_read_once(model)

    def test_full_disk_is_said_and_harms_nobody_else(self):
        model = write_model(self.models, size=64 * MIB)
        self.cluster.start_all(self.models, peers=0)
        small = self.cluster.start_peer("small", MARTLET_FAULT_DISK_FULL_AFTER=str(16 * MIB))
        other = self.cluster.start_peer("other")
        full, fine = small.start_get(model.reference, to=self.place("small")), other.start_get(model.reference, to=self.place("other"))
        self.assert_fails(full, 6, "space|full", "free|remove|larger|raise")
        fine.result()
        self.assert_placed(model, self.place("other"))
        self.assert_origin_read_once(model)
        self.assertFalse(self.place("small").exists(), "nothing incomplete is placed")
        # With space again, what was verified counts.
        small.stop()
        del small.env["MARTLET_FAULT_DISK_FULL_AFTER"]
        small.start()
        small.wait_attached()
        result = small.get(model.reference, to=self.place("small"))
        self.assertGreater(result["resumed_bytes"], 0)
        self.assert_accounted(result, model)
        self.assert_placed(model, self.place("small"))
        self.assert_origin_read_once(model)

    def test_files_of_an_earlier_life_are_not_believed_blindly(self):
        """A store whose published file was damaged behind its back serves nothing wrong to others."""
        model = write_model(self.models, size=32 * MIB)
        self.cluster.start_all(self.models, peers=0)
        damaged = self.cluster.start_peer("damaged")
        damaged.get(model.reference)
        damaged.stop()
        size = (model.directory / "model.safetensors").stat().st_size
        (weights,) = [path for path in damaged.directory.rglob("*") if path.is_file() and path.stat().st_size == size]
        os.chmod(weights, 0o644)
        with open(weights, "r+b") as file:
            file.seek(5 * MIB)
            file.write(b"damage")
        damaged.start()
        damaged.wait_attached()
        peer = self.cluster.start_peer("peer-1")
        peer.get(model.reference, to=self.place("peer-1"))
        self.assert_placed(model, self.place("peer-1"))
        self.assert_origin_read_once(model)


if __name__ == "__main__":
    unittest.main()
