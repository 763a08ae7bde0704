"""The main job over RDMA: separate processes pull a real model, every byte between them by RDMA READ."""

import unittest

from clusters import TRANSPORT, Cluster, assert_only_by_rdma, assert_placed, on, real_model, received, root
from cluster import free_port
from devices import RDMATest

NAMES = ("peer-1", "peer-2")


class OverRDMA(RDMATest):

    devices_min = 2

    def test_everybody_gets_the_model_by_rdma_alone(self):
        cluster = Cluster("rdma")
        self.addCleanup(lambda: cluster.close(tell=not self._outcome.success))
        model = real_model(cluster)
        cluster.start_origin(root(cluster))
        cluster.start_manager()
        cluster.start_scheduler()
        # The seed and the second peer on one device, the first peer on the other: both ways over the cable.
        near, far = self.devices[:2]
        seed = cluster.start_seed(**on(near.address, free_port(), near.name))
        peers = [
            cluster.start_peer(name, **on(device.address, free_port(), device.name))
            for name, device in zip(NAMES, (far, near))]
        before = [device.counters() for device in self.devices[:2]]
        place = cluster.directory / "placed"
        gets = [peer.start_get(model.reference, to=place / peer.name) for peer in peers]
        print(f"\n{model.reference}: {len(model.files)} files, {model.bytes} bytes")
        for peer, get in zip(peers, gets):
            result = get.result(limit=180)
            assert_placed(self, model, place / peer.name)
            assert_only_by_rdma(self, model, peer, result)
        self.assertEqual(seed.received_bytes(source="origin"), model.bytes)
        self.assertEqual(sum(received(seed).values()), 0, "the seed has read the origin alone")
        served = cluster.origin.bytes_served()
        print(f"  origin: {served} bytes, {served / model.bytes:.2f} x")
        self.assertEqual(served, model.bytes)
        if TRANSPORT == "rdma" and "rcvd_pkts" in before[0]:
            # The driver's own word: what READ brings arrives in packets of at most 4096 bytes.
            arrived = sum(d.counters()["rcvd_pkts"] - b["rcvd_pkts"] for d, b in zip(self.devices, before))
            print(f"  the driver counts {arrived} packets received")
            self.assertGreaterEqual(arrived, 2 * model.bytes // 4096)

    def test_a_late_peer_gets_it_from_peers_without_the_origin(self):
        cluster = Cluster("rdma-late")
        self.addCleanup(lambda: cluster.close(tell=not self._outcome.success))
        model = real_model(cluster)
        cluster.start_origin(root(cluster))
        cluster.start_manager()
        cluster.start_scheduler()
        near, far = self.devices[:2]
        cluster.start_seed(**on(near.address, free_port(), near.name))
        first = cluster.start_peer("peer-1", **on(far.address, free_port(), far.name))
        first.get(model.reference)
        cluster.origin.stop()
        late = cluster.start_peer("late", **on(near.address, free_port(), near.name))
        place = cluster.directory / "placed"
        result = late.get(model.reference, to=place)
        assert_placed(self, model, place)
        print()
        assert_only_by_rdma(self, model, late, result)


if __name__ == "__main__":
    unittest.main()
