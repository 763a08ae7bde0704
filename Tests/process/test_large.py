"""A model larger than any peer's memory for pieces: spread mostly by the peers themselves, within their slots.

`MARTLET_TEST_LARGE_BYTES` sets its size (default 4 GiB); the disk below the temporary directory needs seven times that.
"""

import os
import shutil
import unittest

from case import ClusterTest
from models import MIB, write_model

SIZE = int(os.environ.get("MARTLET_TEST_LARGE_BYTES") or 4096 * MIB)
SLOTS = 128 * MIB
# Code, gRPC, threads' stacks, piece tables: what a peer takes besides its slots, whatever the model's size.
FIXED = 200 * MIB


class Large(ClusterTest):

    def test_five_hosts_hold_a_large_model(self):
        free = shutil.disk_usage(self.cluster.directory).free
        self.assertGreater(free, 7 * SIZE, f"{self.cluster.directory} has too little space; set TMPDIR or MARTLET_TEST_LARGE_BYTES")
        model = write_model(self.models, size=SIZE)
        (seed,), peers = self.cluster.start_all(self.models, peers=4, MARTLET_PEER_SLOTS_BYTES=str(SLOTS))
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        results = [get.result(limit=900) for get in gets]
        from_peers = sum(result["traffic"]["peer_bytes"] for result in results)
        from_seed = sum(result["traffic"]["seed_bytes"] for result in results)
        served = self.cluster.origin.bytes_served()
        print(f"\n{SIZE / MIB:.0f} MiB to 4 peers: origin {served / model.bytes:.3f} x, "
              f"{from_peers / (from_peers + from_seed):.0%} of the peers' bytes from other peers")
        for peer, result in zip([seed, *peers], [None, *results]):
            peak = peer.rss_max_bytes()
            rate = f", {model.bytes / result['seconds'] / 1e6:.0f} MB/s" if result else ""
            print(f"  {peer.name}: peak resident memory {peak / MIB:.0f} MiB ({SLOTS / MIB:.0f} MiB of it slots){rate}")
            self.assertLess(peak, SLOTS + FIXED, f"{peer.name}'s memory is not bounded by its slots")
        self.assert_origin_read_once(model)
        for peer, result in zip(peers, results):
            self.assert_accounted(result, model)
            self.assert_placed(model, self.place(peer.name))
            self.assertEqual([entry["transport"] for entry in result["traffic"]["by_transport"]], ["tcp"])
        self.assertGreaterEqual(from_peers, from_seed, "at least half of all peer bytes come from other peers")


if __name__ == "__main__":
    unittest.main()
