"""Models make room for each other, and the scheduler hears of it."""

import unittest

from case import ClusterTest
from models import MIB, write_model


class Eviction(ClusterTest):
    def test_an_evicted_model_is_read_again(self):
        """Every host has room for one model of two. Were the scheduler not told of evictions, the last get would wait for a holder."""
        root = self.models
        first = write_model(root, "org/first", 24 * MIB)
        second = write_model(root, "org/second", 24 * MIB)
        _, [peer] = self.cluster.start_all(root, seeds=1, peers=1, MARTLET_PEER_DISK_BUDGET=str(40 * MIB))
        read = []
        for number, model in enumerate((first, second, first)):
            before = self.cluster.origin.bytes_served()
            place = self.place(f"placed-{number}")
            peer.get(model.reference, to=place)
            self.assert_placed(model, place)
            read.append(self.cluster.origin.bytes_served() - before)
        # Small files that both models have are one task, and stay.
        for amount in read:
            self.assertGreaterEqual(amount, 24 * MIB, f"read at the origin: {read}")
            self.assertLessEqual(amount, first.bytes, f"read at the origin: {read}")
        self.assertEqual(peer.run("ls", "--json").count('"model"'), 1)


if __name__ == "__main__":
    unittest.main()
