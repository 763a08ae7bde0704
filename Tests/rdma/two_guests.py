"""One half of a cluster on two machines, each half run in a guest by Tests/rxe/test_two_guests.py.

    python3 two_guests.py home        origin, manager, scheduler, seed and a peer, on 10.8.0.1
    python3 two_guests.py away        a peer on 10.8.0.2

They meet by files in /guest, which the machine below carries over: `home` writes `cluster` when all is up and ends when there
is a file `done`; `away` has a file `cluster` before it begins.
"""

import json
import pathlib
import sys
import unittest

from clusters import Cluster, Model, assert_only_by_rdma, assert_placed, on, real_model, root
from cluster import free_port, wait_for
from quickstart import NAME, packaged_model

GUEST = pathlib.Path("/guest")
HOME, AWAY = "10.8.0.1", "10.8.0.2"
LIMIT = 300


class Half(unittest.TestCase):

    longMessage = True

    def cluster(self, host: str) -> Cluster:
        cluster = Cluster("two-guests", host=host)
        self.addCleanup(lambda: cluster.close(tell=not self._outcome.success))
        return cluster


class Home(Half):

    def test_home(self):
        cluster = self.cluster(HOME)
        model = real_model(cluster)
        cluster.start_origin(root(cluster))
        cluster.start_manager()
        cluster.start_scheduler()
        cluster.start_seed(**on(HOME, free_port()))
        peer = cluster.start_peer("peer-home", **on(HOME, free_port()))
        token = cluster.make_token("peer", "--host", "peer-away")
        write(GUEST / "cluster", json.dumps({"manager_port": cluster.manager_port, "token": token}))
        place = cluster.directory / "placed"
        get = peer.start_get(model.reference, to=place)
        wait_for("the other guest is done", (GUEST / "done").exists, limit=LIMIT)
        result = get.result()
        assert_placed(self, model, place)
        print()
        assert_only_by_rdma(self, model, peer, result)
        served = cluster.origin.bytes_served()
        print(f"  origin: {served} bytes, {served / model.bytes:.2f} x")
        self.assertEqual(served, model.bytes)


class Away(Half):

    def test_away(self):
        cluster = self.cluster(AWAY)
        cluster.manager_host = HOME
        told = json.loads((GUEST / "cluster").read_text())
        cluster.manager_port = told["manager_port"]
        cluster.token.write_text(told["token"])
        peer = cluster.start_peer("peer-away", **on(AWAY, free_port()))
        model = Model(packaged_model(), NAME)
        place = cluster.directory / "placed"
        result = peer.get(model.reference, to=place)
        assert_placed(self, model, place)
        print()
        assert_only_by_rdma(self, model, peer, result)


def write(path: pathlib.Path, text: str):
    """Renamed at the end: whoever waits for it never sees a part."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.rename(path)


if __name__ == "__main__":
    half = {"home": Home, "away": Away}[sys.argv.pop(1)]
    unittest.main(argv=[sys.argv[0], half.__name__, "-v"])
