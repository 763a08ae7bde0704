"""Bad input: each is one line on stderr that says what to do, and an exit code that says what it was."""

import pathlib
import socket
import unittest

from case import ClusterTest
from cluster import wait_for
from models import MIB, write_model

FAILURE, USAGE, NOT_FOUND, DENIED, WRONG_BYTES, NO_SPACE, UNAVAILABLE, CONFLICT = 1, 2, 3, 4, 5, 6, 7, 8


class BadReferences(ClusterTest):
    """References that mean nothing: found out before anybody is asked."""

    def test_references_that_are_none(self):
        for reference, word in {
            "s3://bucket/model": "s3.*hf://org/name",
            "org/model": "no scheme.*hf://org/name",
            "hf://org": "hf://org/name",
            "hf://org/model@": "revision.*hf://org/name",
            "hf://org/model/../other": r"\.\.",
            "https://": "https://host/",
            "": "hf://org/name",
        }.items():
            with self.subTest(reference=reference):
                self.assert_fails(self.cluster.get_alone(reference), USAGE, word)

    def test_files_that_are_not_there(self):
        self.assert_fails(self.cluster.get_alone("file:///no/such/model"), NOT_FOUND, "/no/such/model.*check the path")

    def test_commands_and_flags_that_do_not_exist(self):
        self.assert_fails(self.cluster.command("obtain", "hf://org/model"), USAGE, "obtain.*martlet --help")
        self.assert_fails(self.cluster.command("get", "--too", "x", "hf://org/model"), USAGE, "--too")
        self.assert_fails(self.cluster.command("get"), USAGE, "REF|reference")


class OriginErrors(ClusterTest):
    """What an origin may answer, seen through a cluster (a seed reads, a peer asks) and by a command on its own."""

    def setUp(self):
        super().setUp()
        self.cluster.environment["MARTLET_ORIGIN_RETRIES"] = "1"
        self.model = write_model(self.models, size=20 * MIB)
        self.weights = "org/model/model.safetensors"

    def start(self, **env):
        self.cluster.start_origin(self.models)
        self.cluster.start_manager()
        self.cluster.start_scheduler(MARTLET_SCHEDULER_LEARNING="0s")
        self.seed = self.cluster.start_seed(**env)
        self.peer = self.cluster.start_peer("peer-1")

    def ways(self, reference: str = "", **env):
        """The same get through the cluster and alone: (name, command, directory)."""
        reference = reference or self.model.reference
        yield "cluster", self.peer.start_get(reference, to=self.place("cluster")), self.place("cluster")
        yield "alone", self.cluster.get_alone(reference, to=self.place("alone"), **env), self.place("alone")

    def assert_refused(self, code: int, *words: str, reference: str = "", **env):
        for way, command, place in self.ways(reference, **env):
            with self.subTest(way=way, reference=reference):
                self.assert_fails(command, code, *words)
                self.assertFalse(place.exists() and any(place.iterdir()), "something was placed")

    def assert_works(self, **env):
        for way, command, place in self.ways(**env):
            with self.subTest(way=way):
                self.assert_accounted(command.result(), self.model)
                self.assert_placed(self.model, place)

    def test_missing_repository_revision_and_file(self):
        self.start()
        self.assert_refused(NOT_FOUND, "org/none", "check the name", reference="hf://org/none")
        self.assert_refused(NOT_FOUND, "no revision.*v9", "branch, tag or commit", reference="hf://org/model@v9")
        self.assert_refused(NOT_FOUND, "none.bin", reference="hf://org/model/none.bin")
        self.assert_refused(NOT_FOUND, "none.bin", reference=f"{self.cluster.origin.url}/files/none.bin")
        self.assertEqual(self.cluster.origin.bytes_served(), 0)

    def test_missing_and_wrong_tokens(self):
        self.start(HF_TOKEN="hf_other")
        self.cluster.origin.fault(token="hf_right", api=True)
        for way, command, _ in self.ways():
            with self.subTest(way=way):
                self.assert_fails(command, DENIED, "403" if way == "cluster" else "401", "HF_TOKEN")
        self.assert_fails(self.cluster.get_alone(self.model.reference, HF_TOKEN="hf_other"), DENIED, "403", "HF_TOKEN|access")
        for process in self.cluster.processes:
            self.assertNotIn("hf_other", process.said(), f"{process.name} logs the token")

    def test_gated_files_of_a_listed_model(self):
        """As on the hub: the tree can be seen, the files cannot."""
        self.start()
        self.cluster.origin.fault(token="hf_right")
        self.assert_refused(DENIED, "401", "HF_TOKEN")

    def test_only_the_seed_needs_the_token(self):
        self.start(HF_TOKEN="hf_right")
        self.cluster.origin.fault(token="hf_right", api=True)
        self.assert_works(HF_TOKEN="hf_right")
        for process in self.cluster.processes:
            self.assertNotIn("hf_right", process.said(), f"{process.name} logs the token")

    def test_bytes_that_do_not_match_the_published_digest(self):
        self.start()
        self.cluster.origin.fault(corrupt=True, match=self.weights)
        self.assert_refused(WRONG_BYTES, "model.safetensors", "digest")
        stored = [path for path in self.cluster.directory.rglob("*") if path.is_file() and "published" in path.parts]
        self.assertEqual(stored, [], "wrong bytes were published")
        self.cluster.origin.fault()
        self.cluster.get_alone(self.model.reference, to=self.place("alone")).result()
        self.assert_placed(self.model, self.place("alone"))
        # The cluster repeats its refusal for some seconds before it asks the origin again.
        wait_for("the refusal is over", lambda: self.peer.start_get(self.model.reference, to=self.place("cluster")).finish().code == 0)
        self.assert_placed(self.model, self.place("cluster"))

    def test_answers_that_end_early_are_continued(self):
        self.start()
        self.cluster.origin.fault(truncate=3 * MIB, match=self.weights)
        self.assert_works()
        self.assertEqual(self.cluster.origin.bytes_served(), 2 * self.model.bytes, "once through the cluster, once alone")

    def test_origin_that_never_sends_all(self):
        self.start()
        self.cluster.origin.fault(truncate=0, match=self.weights)
        self.assert_refused(UNAVAILABLE, "model.safetensors", "try again|check")

    def test_origin_that_fails(self):
        self.start()
        self.cluster.origin.fault(status=503, api=True)
        self.assert_refused(UNAVAILABLE, "503", "try again")

    def test_origin_that_is_not_there(self):
        self.start()
        self.cluster.origin.stop()
        self.assert_refused(UNAVAILABLE, "127.0.0.1", "check|try again|running")

    def test_origin_without_ranges_is_read_in_one_stream(self):
        self.start()
        self.cluster.origin.fault(no_ranges=True)
        for way, command, place in self.ways():
            with self.subTest(way=way):
                self.assert_accounted(command.result(), self.model)
                self.assert_placed(self.model, place)
                # Nothing tells beforehand that there are no ranges: requests for one are ended at their answer's head.
                read = self.cluster.origin.stats()["paths"][self.weights]
                self.assertLessEqual(read["requests"], 6, f"not one stream: {read}")
                self.assertLess(read["bytes"], 2 * self.model.bytes, "the file was sent more than once")
            self.cluster.origin.reset()

    def test_names_that_lead_out_of_the_directory(self):
        self.start()
        for name in ("../evil", "/abs/evil", "a/../../evil", "a//evil", "."):
            with self.subTest(name=name):
                self.cluster.origin.fault(bad_names=[name])
                self.assert_refused(WRONG_BYTES, "may not be written", "do not use")
        self.assertEqual(list(self.cluster.directory.rglob("evil")), [])
        self.assertEqual(self.cluster.origin.bytes_served(), 0)

    def test_directories_that_cannot_be_written(self):
        """Under a file, and in /proc: refused to root, too."""
        self.start()
        in_the_way = self.cluster.directory / "file"
        in_the_way.write_text("in the way")
        for place in (in_the_way / "models", pathlib.Path("/proc/models")):
            with self.subTest(place=place):
                self.assert_fails(self.peer.start_get(self.model.reference, to=place), FAILURE, str(place.parent))
        # What was fetched stays in the store: with a better directory nothing is fetched again.
        result = self.peer.get(self.model.reference, to=self.place("better"))
        self.assertEqual(result["resumed_bytes"], self.model.bytes)
        self.assert_placed(self.model, self.place("better"))


class Servers(ClusterTest):
    """Servers that cannot start, or not join."""

    def taken_port(self) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener.getsockname()[1]

    def server(self, name: str, **env):
        here = self.cluster.directory
        return self.cluster.command(
            name, **{
                "MARTLET_PEER_DATA_DIR": str(here / "store"), "MARTLET_PEER_SOCKET": str(here / "socket"),
                "MARTLET_PEER_LISTEN": "127.0.0.1:0", "MARTLET_PEER_SLOTS_BYTES": "32MiB",
                "MARTLET_MANAGER_DATABASE": str(here / "db"), **env})

    def test_port_in_use(self):
        port = self.taken_port()
        for name in ("manager", "scheduler", "peer", "seed"):
            section = "PEER" if name in ("peer", "seed") else name.upper()
            listens = {f"MARTLET_{section}_LISTEN": f"127.0.0.1:{port}"}
            with self.subTest(server=name):
                self.assert_fails(self.server(name, **listens), CONFLICT, f"127.0.0.1:{port}", "in use|another")
        with self.subTest("metrics"):
            self.assert_fails(
                self.server("peer", MARTLET_PEER_METRICS_LISTEN=f"127.0.0.1:{port}"), CONFLICT, str(port), "in use|another")

    def test_store_in_use(self):
        peer = self.cluster.start_peer("peer-1", attached=False)
        self.assert_fails(
            self.server("peer", MARTLET_PEER_DATA_DIR=peer.env["MARTLET_PEER_DATA_DIR"]), CONFLICT,
            f"in use by process {peer.popen.pid}|in use.*directory of its own")

    def test_store_that_cannot_be_written(self):
        in_the_way = self.cluster.directory / "file"
        in_the_way.write_text("in the way")
        self.assert_fails(self.server("peer", MARTLET_PEER_DATA_DIR=str(in_the_way / "store")), FAILURE, str(in_the_way))

    def test_configuration_with_an_unknown_key(self):
        file = self.cluster.directory / "martlet.toml"
        file.write_text('[peer]\nname = "a"\nslots_byte = "1GiB"\n')
        for name in ("peer", "scheduler", "manager"):
            with self.subTest(server=name):
                self.assert_fails(
                    self.server(name, MARTLET_CONFIG=str(file)), USAGE, "martlet.toml:3", "slots_byte", "slots_bytes")
        self.assert_fails(self.server("peer", MARTLET_PEER_NAMES="a"), USAGE, "MARTLET_PEER_NAMES", "MARTLET_PEER_NAME|peer.name")
        self.assert_fails(self.cluster.command("peer", "--set", "peer.nmae=a"), USAGE, "peer.nmae")
        file.write_text('[peer]\nslots_bytes = "many"\n')
        self.assert_fails(self.server("peer", MARTLET_CONFIG=str(file)), USAGE, "slots_bytes", "many")
        self.assert_fails(self.server("peer", MARTLET_CONFIG="/no/such/file"), USAGE, "/no/such/file")

    def test_wrong_cluster(self):
        """Refused by the manager, and by a scheduler named by hand."""
        model = write_model(self.models, size=2 * MIB)
        self.cluster.start_all(self.models, peers=0)
        self.assert_fails(
            self.server("peer", MARTLET_CLUSTER_NAME="another"), CONFLICT, "of cluster wrong-cluster, not of .another",
            "set cluster.name")

    def test_wrong_cluster_without_manager(self):
        """Without identities it is for the scheduler to refuse."""
        model = write_model(self.models, size=2 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_scheduler()
        self.cluster.static_scheduler = True
        by_scheduler = self.cluster.start_peer("stranger", attached=False, MARTLET_CLUSTER_NAME="another")
        self.assert_fails(
            by_scheduler.start_get(model.reference), CONFLICT, "serves cluster wrong-cluster-without-ma, not .another", "set cluster.name")
        self.assertEqual(self.cluster.origin.bytes_served(), 0)

    def test_rdma_demanded_and_not_there(self):
        """A device that no machine has; where nothing of RDMA is there, that is what is said."""
        missing = {"MARTLET_PEER_RDMA_DEVICES": "none0", "MARTLET_PEER_RDMA_LISTEN": "127.0.0.1:0"}
        for name in ("peer", "seed"):
            with self.subTest(server=name):
                self.assert_fails(
                    self.server(name, MARTLET_PEER_TRANSPORT="rdma", **missing), USAGE, "peer.transport = rdma",
                    "install rdma-core|load ib_uverbs|no RDMA device none0; there is")
        self.assert_fails(
            self.cluster.get_alone("file:///etc/hostname", MARTLET_PEER_TRANSPORT="rdma", **missing), USAGE,
            "peer.transport = rdma")
        # Where it is not demanded, what is missing is said once, and nothing fails.
        peer = self.cluster.start_peer("peer-1", attached=False, **missing)
        said = [line for line in peer.said().splitlines() if "no rdma transport" in line]
        self.assertEqual(len(said), 1, peer.said())
        self.assertIn(" info ", said[0])

    def test_info_without_rdma_devices(self):
        """The same program, no error: what was looked for, and what to do."""
        said = self.cluster.run("info")
        self.assertRegex(said, r"rdma( \(not available\))?: \w+")
        if not pathlib.Path("/sys/class/infiniband").exists():
            self.assertRegex(said, r"rdma \(not available\): no RDMA device \(looked in /sys/class/infiniband\).*modprobe")

    def test_no_peer_to_ask(self):
        self.assert_fails(
            self.cluster.command("ls", MARTLET_PEER_SOCKET=str(self.cluster.directory / "none")), UNAVAILABLE,
            "no peer answers", "martlet up")


if __name__ == "__main__":
    unittest.main()
