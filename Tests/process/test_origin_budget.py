"""What the whole cluster may ask of an origin: measured at the origin's own counter."""

import json
import time
import unittest

from case import ClusterTest
from cluster import wait_for
from models import MIB, write_model

RATE = 8 * MIB
# What the origin may have sent beside the rate: what kernels buffer on four connections, 4 to 10 MiB each.
BUFFERED = 40 * MIB


class OriginBudget(ClusterTest):

    def settings(self, *changes) -> dict:
        """Changes settings of the cluster as an operator does; those that were changed, by name."""
        shown = json.loads(self.cluster.run("settings", *changes, "--json"))
        return {setting["name"]: setting for setting in shown}

    def test_two_seeds_share_a_slow_budget_until_it_is_lifted(self):
        model = write_model(self.models, size=160 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        scheduler = self.cluster.start_scheduler(MARTLET_SCHEDULER_ORIGIN_BYTES_PER_SECOND=str(RATE))
        seeds = [self.cluster.start_seed(f"seed-{i}") for i in (1, 2)]
        peer = self.cluster.start_peer("peer")
        began = time.monotonic()
        get = peer.start_get(model.reference, to=self.place("peer"))
        over = []

        def is_half_read():
            # Counters are read before the clock: they can only look slower than they were.
            served = self.cluster.origin.bytes_served()
            taken = sum(seed.received_bytes(source="origin") for seed in seeds)
            allowed = RATE * (time.monotonic() - began)
            if served > allowed + BUFFERED:
                over.append(f"the origin sent {served} bytes where {allowed:.0f} were allowed")
            # A second's worth for buckets, and for shares that are on their way while they are divided anew.
            if taken > allowed + RATE:
                over.append(f"the seeds took {taken} bytes where {allowed:.0f} were allowed")
            return served >= model.bytes / 2
        wait_for("half of the model is read", is_half_read, limit=120)
        self.assertEqual(over, [])
        shares = [seed.metric("martlet_origin_share_bytes_per_second") for seed in seeds]
        for share in shares:
            self.assertGreater(share, 0, f"a seed is not limited: {shares}")
        self.assertLessEqual(sum(share for share in shares if share < RATE), RATE)
        self.assertGreater(scheduler.metric("martlet_scheduler_origin_shares_total"), 0)
        # Lifted while it runs.
        changed = self.settings("origin_bytes_per_second=0")
        self.assertTrue(changed["origin_bytes_per_second"]["is_set"])
        self.assertEqual(scheduler.metric("martlet_scheduler_setting", setting="origin_bytes_per_second"), 0)
        self.assert_accounted(get.result(), model)
        self.assert_placed(model, self.place("peer"))
        self.assert_origin_read_once(model)

    def test_one_connection_at_a_time(self):
        model = write_model(self.models, size=48 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        self.cluster.start_scheduler(MARTLET_SCHEDULER_ORIGIN_CONNECTIONS="1")
        for i in (1, 2):
            self.cluster.start_seed(f"seed-{i}")
        peer = self.cluster.start_peer("peer")
        peer.get(model.reference, to=self.place("peer"))
        self.assert_placed(model, self.place("peer"))
        self.assert_origin_read_once(model)

    def test_policy(self):
        models = [write_model(self.models, name=f"org/model-{i}", size=12 * MIB) for i in range(3)]
        _, (peer, _) = self.cluster.start_all(self.models, peers=2)
        peer.get(models[0].reference)
        self.settings("origin_policy=never")
        self.assert_fails(peer.start_get(models[1].reference), 4, "its policy lets nobody ask origins")
        served = self.cluster.origin.bytes_served()
        # What the cluster holds can be had.
        self.assertEqual(served, models[0].bytes)
        self.settings("origin_policy=any")
        result = peer.get(models[1].reference, to=self.place("any"))
        self.assert_placed(models[1], self.place("any"))
        self.assertGreater(result["traffic"]["origin_bytes"], 0, "the peer read nothing at the origin itself")
        self.settings("origin_policy=seeds")
        self.assertEqual(peer.get(models[2].reference)["traffic"]["origin_bytes"], 0)
        # Files that are alike in several models are one.
        sizes = {digest: (m.directory / path).stat().st_size for m in models for path, digest in m.files.items()}
        self.assertEqual(self.cluster.origin.bytes_served(), sum(sizes.values()))

    def test_settings_that_make_no_sense_are_refused(self):
        self.cluster.start_manager()
        self.assert_fails(self.cluster.command("settings", "pieces=3"), 2, "there is no setting ‘pieces’")
        self.assert_fails(
            self.cluster.command("settings", "lease_pieces=0"), 2, "lease_pieces: use a number from 1 to 1024")
        self.assert_fails(
            self.cluster.command("settings", "origin_policy=sometimes"), 2, "use one of auto, seeds, any, never")
        self.assertEqual([s for s in json.loads(self.cluster.run("settings", "--json")) if s["is_set"]], [])
        self.assertEqual(self.settings("lease_pieces=8")["lease_pieces"]["value"], "8")
        # They outlive the manager, and can be taken back.
        self.cluster.manager.stop()
        self.cluster.manager.start()
        self.assertEqual([s["name"] for s in json.loads(self.cluster.run("settings", "--json")) if s["is_set"]], ["lease_pieces"])
        self.assertEqual(self.settings("lease_pieces=")["lease_pieces"]["value"], "16")


if __name__ == "__main__":
    unittest.main()
