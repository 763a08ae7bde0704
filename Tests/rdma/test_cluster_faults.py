"""Faults under whole clusters: processes that pull a model by RDMA, and by TCP over another network while that is broken.

RDMA takes the cable, TCP the loop-back interface. What was verified before a fault is not fetched again, the model arrives
byte for byte, and where RDMA comes back it is used again. Times are printed and not asserted; everything has a limit.
"""

import time
import unittest

from clusters import Cluster, assert_placed, by_transport, on, received
from cluster import free_port, wait_for
from devices import FaultTest
from models import MIB, write_model

LIMIT = 90
MODEL_BYTES = 384 * MIB
# Slow enough that the middle of a download is long.
ORIGIN_BYTES_PER_S = 16 * MIB


class ClusterFaults(FaultTest):

    def setUp(self):
        super().setUp()
        self.cluster = Cluster("rdma-faults")
        self.addCleanup(lambda: self.cluster.close(tell=not self._outcome.success))
        # Before the cluster ends: nothing has to wait for a broken cable.
        self.addCleanup(self.cable.heal)
        models = self.cluster.directory / "models"
        models.mkdir()
        self.model = write_model(models, size=MODEL_BYTES)
        self.cluster.start_origin(models)
        self.cluster.start_manager()
        self.cluster.start_scheduler()
        left, right = self.cable.ends
        self.seed = self.cluster.start_seed(**self.host(left))
        self.right = right
        self.cluster.origin.fault(total_bytes_per_s=ORIGIN_BYTES_PER_S)

    def host(self, end) -> dict:
        """Settings of a host whose RDMA takes the cable, and whose TCP does not."""
        settings = on(end.address, free_port(), end.device.name)
        settings["MARTLET_PEER_TRANSPORT"] = "auto"
        settings["MARTLET_PEER_LISTEN"] = f"127.0.0.1:{free_port()}"
        return settings

    def peer(self, name="peer-1"):
        return self.cluster.start_peer(name, **self.host(self.right))

    def begin(self, peer):
        """A download, when a good part has come by RDMA and nothing by anything else."""
        get = peer.start_get(self.model.reference, to=self.place(peer))
        wait_for(f"{peer.name} reads by RDMA", lambda: received(peer)["rdma"] >= 16 * MIB, limit=LIMIT)
        return get

    def place(self, peer):
        return self.cluster.directory / "placed" / peer.name

    def more(self, peer, kind: str, since: float) -> float:
        """Seconds since a moment until more has come by a transport."""
        had = received(peer)[kind]
        wait_for(f"{peer.name} receives by {kind}", lambda: received(peer)[kind] > had, limit=LIMIT, every=0.02)
        return time.monotonic() - since

    def end(self, peer, get) -> dict:
        """The download's end: all of the model, each byte once."""
        self.cluster.origin.fault()
        result = get.result(limit=LIMIT * 2)
        assert_placed(self, self.model, self.place(peer))
        traffic = result["traffic"]
        fetched = traffic["origin_bytes"] + traffic["seed_bytes"] + traffic["peer_bytes"]
        self.assertEqual(fetched + result["resumed_bytes"], self.model.bytes, f"bytes are missing or twice: {result}")
        return result

    def told(self, what: str, result: dict):
        print(f"\n{what}; {by_transport(result)}, {result['traffic']['wasted_bytes']} bytes wasted", flush=True)

    def test_link_down_for_good(self):
        peer = self.peer()
        get = self.begin(peer)
        began = time.monotonic()
        self.right.link_down()
        over = self.more(peer, "tcp", began)
        result = self.end(peer, get)
        self.told(f"link down for good: TCP takes over after {over:.2f} s", result)
        self.assertGreater(by_transport(result)["tcp"], 0)

    def test_link_down_and_up(self):
        peer = self.peer()
        get = self.begin(peer)
        began = time.monotonic()
        self.right.link_down()
        over = self.more(peer, "tcp", began)
        time.sleep(max(0, 5 - (time.monotonic() - began)))
        self.right.link_up()
        back = self.more(peer, "rdma", time.monotonic())
        self.told(
            f"link down for 5 s: TCP takes over after {over:.2f} s, RDMA is back {back:.2f} s after the link",
            self.end(peer, get))

    def test_devices_deleted_and_added(self):
        peer = self.peer()
        get = self.begin(peer)
        began = time.monotonic()
        self.cable.delete()
        over = self.more(peer, "tcp", began)
        self.cable.wait_deleted(LIMIT)
        closed = time.monotonic() - began
        self.cable.create()
        back = self.more(peer, "rdma", time.monotonic())
        self.told(
            f"RDMA devices gone and added again: TCP takes over after {over:.2f} s, all have closed the devices after "
            f"{closed:.2f} s, RDMA is back {back:.2f} s after the devices", self.end(peer, get))

    def test_reader_killed(self):
        victim, other = self.peer("victim"), self.peer("other")
        lost, get = self.begin(victim), self.begin(other)
        had = victim.received_bytes()
        victim.kill()
        began = time.monotonic()
        after = self.more(other, "rdma", began)
        self.assertEqual(lost.finish().code, 7, lost.err)
        victim.start()
        victim.wait_attached()
        again = victim.start_get(self.model.reference, to=self.place(victim))
        result = self.end(victim, again)
        self.assertGreaterEqual(result["resumed_bytes"], had, "pieces verified before were fetched again")
        others = self.end(other, get)
        self.assertEqual(by_transport(others).get("tcp", 0), 0, "the other reader's links went too")
        self.told(f"reader killed: the other reads on after {after:.2f} s by RDMA alone", others)
        self.told(f"  and the killed one, started again, keeps {result['resumed_bytes']} bytes", result)

    def test_source_killed(self):
        second = self.cluster.start_seed("seed-2", **self.host(self.cable.left))
        peer = self.peer()
        get = self.begin(peer)
        victim = max((self.seed, second), key=lambda seed: seed.received_bytes(source="origin"))
        began = time.monotonic()
        victim.kill()
        after = self.more(peer, "rdma", began)
        result = self.end(peer, get)
        self.told(f"the serving seed killed: bytes come by RDMA again after {after:.2f} s", result)


if __name__ == "__main__":
    unittest.main()
