"""Clusters whose pieces travel by RDMA: the processes of Tests/process, each host on one device's address.

MARTLET_TEST_TRANSPORT=tcp runs the same tests without RDMA, to see what is the tests' own.
"""

import os
import pathlib
import shutil
import sys

from devices import ROOT

sys.path.insert(0, str(ROOT / "Tests" / "process"))

from cluster import Cluster, Peer, wait_for  # noqa: E402
from models import Model, digests  # noqa: E402
from quickstart import NAME, packaged_model  # noqa: E402

TRANSPORT = os.environ.get("MARTLET_TEST_TRANSPORT") or "rdma"


def real_model(cluster: Cluster) -> Model:
    """all-MiniLM-L6-v2 with its weights, below a root that `cluster` can serve: `root`."""
    shown = cluster.directory / "hub" / NAME
    shown.parent.mkdir(parents=True)
    shutil.copytree(packaged_model(), shown)
    return Model(shown, NAME)


def root(cluster: Cluster) -> pathlib.Path:
    return cluster.directory / "hub"


def on(address: str, port: int, devices: str = "auto") -> dict:
    """Settings of a host at this address whose pieces are served and read on these RDMA devices, or not at all."""
    return {
        "MARTLET_PEER_TRANSPORT": TRANSPORT, "MARTLET_PEER_LISTEN": f"{address}:{port}",
        "MARTLET_PEER_RDMA_LISTEN": f"{address}:{port}", "MARTLET_PEER_RDMA_DEVICES": devices}


def by_transport(result: dict) -> dict:
    """Bytes of a `get` by transport, as its result says."""
    return {entry["transport"]: entry["bytes"] for entry in result["traffic"]["by_transport"]}


def received(peer: Peer) -> dict:
    """Bytes a host received by transport, as its metrics say."""
    return {
        kind: int(peer.metric("martlet_transport_received_bytes_total", transport=kind)) for kind in ("rdma", "tcp", "local")}


def assert_only_by_rdma(test, model: Model, peer: Peer, result: dict):
    """Every byte that came from another host came by RDMA, by the result and by the metrics; and all of them came."""
    traffic = result["traffic"]
    from_hosts = traffic["seed_bytes"] + traffic["peer_bytes"]
    test.assertEqual(traffic["origin_bytes"], 0, "only the seed may read the origin")
    test.assertEqual(from_hosts, model.bytes, f"bytes are missing or twice: {result}")
    test.assertEqual(by_transport(result), {TRANSPORT: model.bytes})
    # Metrics follow what was done within a tenth of a second.
    wait_for(f"{peer.name} shows all it received", lambda: sum(received(peer).values()) >= model.bytes, limit=10)
    counted = received(peer)
    test.assertEqual(counted.pop(TRANSPORT), model.bytes)
    test.assertEqual(set(counted.values()), {0}, f"{peer.name} received by another transport: {counted}")
    rate = from_hosts / result["seconds"] / 1e6 if result["seconds"] else 0
    print(f"  {peer.name}: {traffic['seed_bytes']} bytes from the seed, {traffic['peer_bytes']} from peers, "
          f"{by_transport(result)}, {rate:.0f} MB/s, {result['files']} files verified")


def assert_placed(test, model: Model, directory):
    """The directory holds the model's files and nothing else, byte for byte."""
    test.assertEqual(digests(directory), model.files, f"{directory} is not the model")
