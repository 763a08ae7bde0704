"""Several schedulers: models are spread over them, and go on when one leaves, dies or is replaced.

The origin is slowed down where something is to happen in the middle of a download, and set free once the deed is done.
"""

import unittest

from case import ClusterTest
from cluster import wait_for
from models import MIB, write_model


class Schedulers(ClusterTest):

    def start_hosts(self, peers: int = 2, schedulers: int = 2, **env):
        """A seed and peers, attached to all schedulers."""
        hosts = [self.cluster.start_seed(**env)]
        hosts += [self.cluster.start_peer(f"peer-{i + 1}", **env) for i in range(peers)]
        for host in hosts:
            host.wait_schedulers(schedulers)
        return hosts[0], hosts[1:]

    def assert_read_once(self, models):
        """The origin sent every content once; files that are alike are one. Two schedulers may each have one read that
        models of both have, while neither has heard of it: here a small one."""
        sizes = {digest: (m.directory / path).stat().st_size for m in models for path, digest in m.files.items()}
        shared = [d for d in sizes if sum(d in m.files.values() for m in models) > 1]
        served = self.cluster.origin.bytes_served()
        self.assertGreaterEqual(served, sum(sizes.values()))
        self.assertLessEqual(served, sum(sizes.values()) + sum(sizes[d] for d in shared), "the origin was read twice")

    def in_the_middle(self, model, peer):
        wait_for(f"{peer.name} has a part", lambda: peer.received_bytes() >= 0.2 * model.bytes, limit=60)
        self.assertLess(peer.received_bytes(), model.bytes, "the origin was not slow enough")

    def owner_of_the_only_model(self, schedulers):
        """The scheduler under which it is being downloaded."""
        return wait_for(
            "one scheduler has the download",
            lambda: next((s for s in schedulers if s.metric("martlet_scheduler_models_active") > 0), None))

    def test_a_hundred_models_and_one_of_two_leaves(self):
        models = [write_model(self.models, name=f"org/model-{i}", size=(1 + i % 3) * 64 * 1024) for i in range(100)]
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        leaving = self.cluster.start_scheduler("scheduler-1")
        staying = self.cluster.start_scheduler("scheduler-2")
        _, (first, second) = self.start_hosts()
        for start in range(0, 60, 10):
            gets = [first.start_get(m.reference, to=self.place(f"1/{m.reference[5:]}")) for m in models[start:start + 10]]
            for get in gets:
                get.result()
        granted = {s.name: s.metric("martlet_scheduler_leases_granted_total") for s in (leaving, staying)}
        for name, count in granted.items():
            self.assertGreater(count, 20, f"{name} has hardly any of the models: {granted}")
        # It leaves while models are on their way.
        gets = [first.start_get(m.reference, to=self.place(f"1/{m.reference[5:]}")) for m in models[60:80]]
        self.assertEqual(leaving.stop(), 0)
        for get in gets:
            get.result()
        for host in (first, second):
            host.wait_schedulers(1)
        for start in range(0, 100, 10):
            gets = [second.start_get(m.reference, to=self.place(f"2/{m.reference[5:]}")) for m in models[start:start + 10]]
            for get in gets:
                get.result()
        for model in models:
            self.assert_placed(model, self.place(f"2/{model.reference[5:]}"))
        for model in models[:80]:
            self.assert_placed(model, self.place(f"1/{model.reference[5:]}"))
        self.assert_read_once(models)

    def test_killed_and_replaced_by_another_instance(self):
        model = write_model(self.models, size=256 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        victim = self.cluster.start_scheduler("scheduler-1")
        _, peers = self.start_hosts(schedulers=1)
        self.cluster.origin.fault(total_bytes_per_s=40 * MIB)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        self.in_the_middle(model, peers[0])
        victim.kill()
        # The same name at another address, as after a move to another machine.
        replacement = self.cluster.start_scheduler("scheduler-1")
        wait_for("the hosts come to it", lambda: replacement.metric("martlet_scheduler_hosts") >= 3)
        self.cluster.origin.fault()
        for peer, get in zip(peers, gets):
            self.assert_accounted(get.result(), model)
            self.assert_placed(model, self.place(peer.name))
        self.assert_origin_read_once(model)

    def test_killed_without_a_manager(self):
        model = write_model(self.models, size=256 * MIB)
        self.cluster.start_origin(self.models)
        schedulers = [self.cluster.start_scheduler(f"scheduler-{i}") for i in (1, 2)]
        listed = ",".join(f"127.0.0.1:{s.port}" for s in schedulers)
        _, peers = self.start_hosts(MARTLET_PEER_SCHEDULERS=listed)
        self.cluster.origin.fault(total_bytes_per_s=20 * MIB)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        self.in_the_middle(model, peers[0])
        owner = self.owner_of_the_only_model(schedulers)
        other = next(s for s in schedulers if s is not owner)
        owner.kill()
        wait_for("the other one has the model", lambda: other.metric("martlet_scheduler_models_active") == 1)
        self.cluster.origin.fault()
        for peer, get in zip(peers, gets):
            self.assert_accounted(get.result(), model)
            self.assert_placed(model, self.place(peer.name))
        self.assert_origin_read_once(model)
        # It comes back, and what it had with it; who holds what it hears from the hosts.
        owner.start()
        for peer in peers:
            peer.wait_schedulers(2)
        late = self.cluster.start_peer("late", MARTLET_PEER_SCHEDULERS=listed).wait_schedulers(2)
        late.get(model.reference, to=self.place("late"))
        self.assert_placed(model, self.place("late"))
        self.assert_origin_read_once(model)

    def test_one_joins_in_the_middle(self):
        models = [write_model(self.models, name=f"org/model-{i}", size=24 * MIB) for i in range(8)]
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        self.cluster.start_scheduler("scheduler-1")
        seed, peers = self.start_hosts(schedulers=1)
        self.cluster.origin.fault(total_bytes_per_s=24 * MIB)
        gets = {(p, m): p.start_get(m.reference, to=self.place(f"{p.name}/{m.reference[5:]}")) for p in peers for m in models}
        wait_for("the origin is being read", lambda: self.cluster.origin.bytes_served() > 24 * MIB, limit=60)
        self.cluster.start_scheduler("scheduler-2")
        for host in (seed, *peers):
            host.wait_schedulers(2)
        moved = sum(host.metric("martlet_downloads_moved_total") for host in (seed, *peers))
        self.assertGreater(moved, 0, "no download moved to the new scheduler")
        self.cluster.origin.fault()
        for (peer, model), get in gets.items():
            self.assert_accounted(get.result(), model)
            self.assert_placed(model, self.place(f"{peer.name}/{model.reference[5:]}"))
        self.assert_read_once(models)

    def test_peer_that_starts_while_the_manager_is_away(self):
        model = write_model(self.models, size=12 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        self.cluster.start_scheduler()
        _, (peer,) = self.start_hosts(peers=1, schedulers=1)
        self.cluster.manager.kill()
        peer.stop()
        peer.start()
        peer.wait_schedulers(1)
        peer.get(model.reference, to=self.place("peer"))
        self.assert_placed(model, self.place("peer"))
        self.assert_origin_read_once(model)


if __name__ == "__main__":
    unittest.main()
