"""How a host comes to use RDMA, and what it says where it cannot: settings, rails, limits, `martlet info`, metrics."""

import json
import os
import pathlib
import re
import unittest

from clusters import TRANSPORT, Cluster, Peer, assert_only_by_rdma, assert_placed, by_transport, root
from cluster import Command
from devices import RDMATest, absent, is_guest, is_root
from models import MIB, write_model

USAGE = 2
NOBODY = 65534


class SettingsTest(RDMATest):
    """A small model, and a cluster on loopback: only pieces leave it."""

    def cluster(self, name: str) -> Cluster:
        cluster = Cluster(name)
        self.addCleanup(lambda: cluster.close(tell=not self._outcome.success))
        root(cluster).mkdir()
        self.model = write_model(root(cluster), size=24 * MIB)
        return cluster

    def start(self, cluster: Cluster):
        cluster.start_origin(root(cluster))
        cluster.start_manager()
        cluster.start_scheduler()

    def rdma(self, devices: str = "auto", **more) -> dict:
        return {
            "MARTLET_PEER_TRANSPORT": TRANSPORT, "MARTLET_PEER_RDMA_LISTEN": "127.0.0.1:0",
            "MARTLET_PEER_RDMA_DEVICES": devices, **more}

    def pull(self, cluster: Cluster, *peers: Peer):
        """Every peer gets the model, every byte of it by RDMA."""
        gets = [peer.start_get(self.model.reference, to=cluster.directory / "placed" / peer.name) for peer in peers]
        print()
        for peer, get in zip(peers, gets):
            result = get.result()
            assert_placed(self, self.model, cluster.directory / "placed" / peer.name)
            assert_only_by_rdma(self, self.model, peer, result)

    def assert_refused(self, command: Command, *words: str):
        command.finish(60)
        said = command.err.strip()
        self.assertEqual(command.code, USAGE, said or command.out)
        self.assertEqual(len(said.splitlines()), 1, f"not one line: {said}")
        for word in ("peer.transport = rdma", *words):
            self.assertRegex(said, word)


class Rails(SettingsTest):

    def test_all_hosts_on_one_device(self):
        cluster = self.cluster("one-device")
        self.start(cluster)
        device = self.devices[0].name
        cluster.start_seed(**self.rdma(device))
        peers = [
            cluster.start_peer("peer-1", **self.rdma(f"{device}:1", MARTLET_PEER_RDMA_QUEUE_PAIRS="1")),
            cluster.start_peer("peer-2", **self.rdma(device, MARTLET_PEER_RDMA_LEASE="region", MARTLET_PEER_RDMA_MTU="1024"))]
        self.pull(cluster, *peers)
        self.assertEqual(peers[0].metric("martlet_rdma_rail_info", device=device, port="1", rail=f"rdma-{device}"), 1)
        self.assertEqual(peers[1].metric("martlet_rdma_rail_info", lease="region"), 1)
        for peer in peers:
            reads, rings = (
                peer.metric(f"martlet_rail_{name}_total", rail=f"rdma-{device}") for name in ("work_requests", "doorbells"))
            print(f"  {peer.name}: {reads:.0f} work requests, {rings:.0f} doorbells")
            self.assertGreater(rings, 0)
            self.assertGreaterEqual(reads, rings)
            self.assertGreater(peer.metric("martlet_rail_links_up_total", rail=f"rdma-{device}"), 0)
            self.assertEqual(peer.metric("martlet_rail_device_reopenings_total", rail=f"rdma-{device}"), 0)
            self.assertEqual(peer.metric("martlet_rail_received_bytes_total", rail="tcp-fetch"), 0)

    def test_a_rail_for_every_device(self):
        if len(self.devices) < 2:
            absent(f"two active devices are needed, there is {self.devices}")
        cluster = self.cluster("rails")
        self.start(cluster)
        seed = cluster.start_seed(**self.rdma())
        peer = cluster.start_peer("peer-1", **self.rdma())
        self.pull(cluster, peer)
        for host in (seed, peer):
            for device in self.devices:
                self.assertEqual(host.metric("martlet_rdma_rail_info", device=device.name), 1, host.said())
            announced = re.findall(r"is up .*?listens=\"([^\"]*)\"", host.said())
            self.assertEqual(len(announced), 1, host.said())
            places = announced[0].split()
            self.assertEqual(len(places), len(self.devices), places)
            self.assertTrue(all(place.startswith("rdma:127.0.0.1:") for place in places), places)

    def test_rails_on_every_interface_are_announced_at_their_own_address(self):
        cluster = self.cluster("own-address")
        self.start(cluster)
        more = {"MARTLET_PEER_RDMA_LISTEN": "0.0.0.0:0"}
        seed = cluster.start_seed(**self.rdma(**more))
        for device in self.devices:
            self.assertRegex(seed.said(), rf"listens=\"[^\"]*rdma:{re.escape(device.address)}:\d+")
        peer = cluster.start_peer("peer-1", **self.rdma(**more))
        self.pull(cluster, peer)


class Refusals(SettingsTest):

    def server(self, cluster: Cluster, *wrap: str, **env) -> Command:
        here = cluster.directory / "refused"
        here.mkdir(exist_ok=True)
        os.chown(here, NOBODY, NOBODY)
        command = Command([*wrap, cluster.martlet, "peer"], cluster.env(**{
            "MARTLET_PEER_NAME": "refused", "MARTLET_PEER_DATA_DIR": str(here / "store"), "MARTLET_PEER_SOCKET": str(here / "s"),
            "MARTLET_PEER_LISTEN": "127.0.0.1:0", "MARTLET_PEER_METRICS_LISTEN": "", "MARTLET_PEER_SLOTS_BYTES": "32MiB",
            "MARTLET_LOG_LEVEL": "error", **self.rdma(), **env}))
        cluster.commands.append(command)
        return command

    def test_a_device_that_is_not_there(self):
        present = ", ".join(sorted(device.name for device in self.devices))
        for devices in ("none0", f"{self.devices[0].name},none0"):
            with self.subTest(devices=devices):
                self.assert_refused(
                    self.server(self.cluster("missing"), **{"MARTLET_PEER_RDMA_DEVICES": devices}),
                    "no RDMA device none0", present)

    def test_an_address_that_is_not_there(self):
        self.assert_refused(
            self.server(self.cluster("no-gid"), MARTLET_PEER_RDMA_GID_INDEX="77"), "no address at index 77", "the port has")

    def limited(self, cluster: Cluster) -> list:
        """Words before a command that let it lock 64 KiB."""
        if not is_root():
            absent("root is needed to become somebody else")
        for device in pathlib.Path("/dev/infiniband").iterdir():
            if is_guest():
                device.chmod(0o666)
            elif device.name.startswith("uverbs") and device.stat().st_mode & 0o006 != 0o006:
                absent(f"{device} is root's alone")
        cluster.directory.chmod(0o755)
        become = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
        return ["bash", "-c", f'ulimit -l 64 && exec {become} "$@"', "limited"]

    def test_memlock_too_low_where_rdma_is_demanded(self):
        cluster = self.cluster("memlock")
        self.assert_refused(
            self.server(cluster, *self.limited(cluster)), r"memlock limit \(64 KiB\)", "LimitMEMLOCK=infinity", "ulimit memlock")

    def test_memlock_too_low_where_it_is_not(self):
        cluster = self.cluster("memlock-auto")
        self.start(cluster)
        cluster.start_seed(**self.rdma(MARTLET_PEER_TRANSPORT="auto"))
        peer = Peer(cluster, "limited", "peer", "machine-limited", self.rdma(MARTLET_PEER_TRANSPORT="auto"))
        peer.argv = self.limited(cluster) + peer.argv
        os.chown(peer.directory, NOBODY, NOBODY)
        cluster.processes.append(peer)
        peer.start().wait_attached()
        result = peer.get(self.model.reference)
        self.assertEqual(by_transport(result), {"tcp": self.model.bytes})
        said = [line for line in peer.said().splitlines() if "no rdma transport" in line]
        self.assertEqual(len(said), 1, peer.said())
        self.assertIn(" info ", said[0])
        self.assertRegex(said[0], r"memlock limit \(64 KiB\).*LimitMEMLOCK=infinity")

    def test_info_tells_of_the_limit(self):
        cluster = self.cluster("memlock-info")
        command = Command([*self.limited(cluster), cluster.martlet, "info", "--json"], cluster.env())
        report = command.result()
        rdma = next(entry for entry in report["transports"] if entry["name"] == "rdma")
        self.assertFalse(rdma["available"])
        self.assertRegex(rdma["reason"], "memlock|IPC_LOCK")


class Info(SettingsTest):

    def test_devices_and_what_they_enforce(self):
        cluster = self.cluster("info")
        report = json.loads(cluster.run("info", "--json"))
        rdma = next(entry for entry in report["transports"] if entry["name"] == "rdma")
        self.assertTrue(rdma["available"], rdma)
        self.assertTrue(report["rdma_support"]["library"])
        shown = {device["name"]: device["ports"][0] for device in report["rdma"]}
        text = cluster.run("info")
        print(f"\n{text}")
        for device in self.devices:
            port = shown[device.name]
            self.assertTrue(port["usable"], port)
            self.assertEqual((port["gid"], port["gid_index"]), (device.address, device.gid_index))
            self.assertEqual(port["gid_network_device"], device.netdev())
            self.assertIn(device.name, rdma["reason"])
            lease = port["lease"]
            self.assertIn(lease["mechanism"], ("window", "exactRegion"))
            self.assertEqual(lease["regions"], dict.fromkeys(("binds_to_reader", "refuses_writes", "bounds_range", "revokes"), True))
            if device.name.startswith("rxe") and is_guest():
                # rxe has windows and does not bound them.
                self.assertFalse(lease["windows"]["bounds_range"])
                self.assertEqual(lease["mechanism"], "exactRegion")
            self.assertRegex(text, rf"{device.name}: leases by .*windows: .*regions: enforces")
            self.assertRegex(text, rf"{device.name} +1 .*{device.address} \({device.gid_index}\)")


if __name__ == "__main__":
    unittest.main()
