"""Servers that listen on every interface say where they are found."""

import unittest

from case import ClusterTest
from cluster import free_port
from models import MIB, write_model


class EveryInterface(ClusterTest):
    def test_hosts_that_listen_on_every_interface_find_each_other(self):
        model = write_model(self.models, size=12 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        self.cluster.start_scheduler()
        for name, is_seed in (("seed-1", True), ("peer-1", False)):
            peer = self.cluster.start_peer(
                name, seed=is_seed, MARTLET_PEER_LISTEN=f"0.0.0.0:{free_port()}")
            self.assertRegex(peer.said(), r"tcp:127\.0\.0\.1:\d+", "it does not say where it is found")
        result = peer.get(model.reference, to=self.place("peer-1"))
        self.assert_placed(model, self.place("peer-1"))
        self.assertEqual(result["traffic"]["seed_bytes"], model.bytes)

    def test_nobody_to_look_toward(self):
        self.cluster.manager_port = None
        # Given files: without a manager there is nobody to get a certificate from. They are read, and not used before the failure.
        pem = self.cluster.directory / "any.pem"
        pem.write_text("")
        files = {f"MARTLET_TLS_{part}": str(pem) for part in ("CA", "CERT", "KEY")}
        command = self.cluster.command(
            "peer", MARTLET_PEER_LISTEN=f"0.0.0.0:{free_port()}", MARTLET_TLS_INSECURE=None, **files,
            MARTLET_PEER_DATA_DIR=str(self.cluster.directory / "store"),
            MARTLET_PEER_SOCKET=str(self.cluster.directory / "s"))
        self.assert_fails(command, 2, "0.0.0.0", "peer.advertise")


if __name__ == "__main__":
    unittest.main()
