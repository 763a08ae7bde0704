"""kill -9 of every kind of process in the middle of a download.

The origin is slowed down, so that "in the middle" is certain, and set free once the deed is done.
"""

import unittest

from case import ClusterTest
from cluster import wait_for
from models import MIB, write_model

PIECE = 4 * MIB


class Kills(ClusterTest):

    def middle_of(self, model, peers, share: float = 0.3):
        """Waits until every one of the peers has its share of the model, and checks that none has all of it."""
        for peer in peers:
            wait_for(f"{peer.name} has {share:.0%}", lambda: peer.received_bytes() >= share * model.bytes, limit=60)
        for peer in peers:
            self.assertLess(peer.received_bytes(), model.bytes, "the origin was not slow enough")

    def test_peer_fetches_again_only_what_was_not_verified(self):
        model = write_model(self.models, size=256 * MIB)
        _, (peer, other) = self.cluster.start_all(self.models, peers=2)
        self.cluster.origin.fault(total_bytes_per_s=50 * MIB)
        get, others = peer.start_get(model.reference), other.start_get(model.reference, to=self.place("other"))
        self.middle_of(model, [peer])
        had = peer.received_bytes()
        peer.kill()
        self.assert_fails(get, 7, "lost the node's peer", "once it runs again")
        peer.start()
        peer.wait_attached()
        self.cluster.origin.fault()
        result = peer.get(model.reference, to=self.place("peer"))
        # Counted pieces were in the journal; some more may have been kept since the count was read.
        self.assertGreaterEqual(result["resumed_bytes"], had)
        self.assert_accounted(result, model)
        self.assertLessEqual(result["traffic"]["wasted_bytes"], 8 * PIECE, "the end game wastes a few pieces at most")
        others.result()
        self.assert_placed(model, self.place("peer"))
        self.assert_placed(model, self.place("other"))
        self.assert_origin_read_once(model)

    def test_another_seed_takes_over(self):
        model = write_model(self.models, size=1024 * MIB)
        seeds, peers = self.cluster.start_all(self.models, seeds=2, peers=2)
        self.cluster.origin.fault(total_bytes_per_s=150 * MIB)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        self.middle_of(model, peers)
        victim = max(seeds, key=lambda seed: seed.received_bytes(source="origin"))
        self.assertGreater(victim.received_bytes(source="origin"), 0)
        victim.kill()
        self.cluster.origin.fault(total_bytes_per_s=300 * MIB)
        for peer, get in zip(peers, gets):
            result = get.result()
            self.assert_accounted(result, model)
            self.assert_placed(model, self.place(peer.name))
            self.assertEqual(result["traffic"]["origin_bytes"], 0)
        served = self.cluster.origin.bytes_served()
        print(f"\nseed killed: the origin served {served / model.bytes:.3f} x")
        self.assertLessEqual(served, 1.05 * model.bytes)

    def test_scheduler_is_refilled_by_its_hosts(self):
        model = write_model(self.models, size=256 * MIB)
        (seed,), peers = self.cluster.start_all(self.models, peers=2)
        self.cluster.origin.fault(total_bytes_per_s=50 * MIB)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        self.middle_of(model, peers, share=0.2)
        self.cluster.scheduler.kill()
        self.cluster.scheduler.start()
        for host in [seed, *peers]:
            host.wait_attached()
        self.cluster.origin.fault()
        for peer, get in zip(peers, gets):
            self.assert_accounted(get.result(), model)
            self.assert_placed(model, self.place(peer.name))
        self.assert_origin_read_once(model)
        # What the scheduler knows now, it heard from its hosts: a new peer gets the model without the origin.
        late = self.cluster.start_peer("late")
        late.get(model.reference, to=self.place("late"))
        self.assert_placed(model, self.place("late"))
        self.assert_origin_read_once(model)

    def test_manager_does_not_matter_to_running_downloads(self):
        model = write_model(self.models, size=256 * MIB)
        (seed,), peers = self.cluster.start_all(self.models, peers=2)
        members = {process.name for process in (seed, *peers, self.cluster.scheduler)}
        self.wait_members(members)
        self.cluster.origin.fault(total_bytes_per_s=50 * MIB)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        self.middle_of(model, peers, share=0.2)
        self.cluster.manager.kill()
        self.cluster.origin.fault()
        for peer, get in zip(peers, gets):
            self.assert_accounted(get.result(), model)
            self.assert_placed(model, self.place(peer.name))
        self.assert_origin_read_once(model)
        self.cluster.manager.start()
        self.wait_members(members)

    def wait_members(self, names: set):
        """Until the manager counts as many live members."""
        wait_for(
            f"the manager counts {sorted(names)} as live",
            lambda: self.cluster.manager.metric("martlet_manager_members", live="1") == len(names), limit=60)


if __name__ == "__main__":
    unittest.main()
