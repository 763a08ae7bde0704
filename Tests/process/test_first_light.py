"""The main job with the real executable: a cluster pulls a model, verified, and reads the origin once."""

import json
import os
import unittest

from case import ClusterTest
from cluster import wait_for
from models import MIB, write_model


class FirstLight(ClusterTest):

    def test_everybody_gets_the_model_and_the_origin_is_read_once(self):
        model = write_model(self.models, size=96 * MIB)
        (seed,), peers = self.cluster.start_all(self.models, peers=3)
        gets = [peer.start_get(model.reference, to=self.place(peer.name)) for peer in peers]
        for peer, get in zip(peers, gets):
            result = get.result()
            self.assert_placed(model, self.place(peer.name))
            self.assert_accounted(result, model)
            self.assertEqual(result["host"], peer.name)
            self.assertEqual(result["files"], len(model.files))
            self.assertEqual(result["files_with_published_digest"], len(model.files), "the hub publishes a digest of each")
            self.assertEqual(result["traffic"]["origin_bytes"], 0, "only the seed may read the origin")
            transports = [entry["transport"] for entry in result["traffic"]["by_transport"]]
            self.assertEqual(transports, ["tcp"], "different machines speak TCP")
            hosts = {entry["host"] for entry in result["traffic"]["by_host"]}
            self.assertLessEqual(hosts, {"seed-1", "peer-1", "peer-2", "peer-3"} - {peer.name})
        self.assert_origin_read_once(model)
        self.assertEqual(seed.received_bytes(source="origin"), model.bytes)

        # Without the origin: for one who has it, and for one who never heard of it.
        self.cluster.origin.stop()
        again = peers[0].get(model.reference, to=self.place("again"))
        self.assertEqual(again["resumed_bytes"], model.bytes)
        self.assert_placed(model, self.place("again"))
        late = self.cluster.start_peer("late")
        result = late.get(model.reference, to=self.place("late"))
        self.assert_accounted(result, model)
        self.assert_placed(model, self.place("late"))

    def test_same_machine_uses_the_local_transport(self):
        model = write_model(self.models)
        self.cluster.start_all(self.models, peers=0)
        first = self.cluster.start_peer("peer-1")
        first.get(model.reference)
        neighbour = self.cluster.start_peer("peer-2", machine="machine-of-peer-1")
        result = neighbour.get(model.reference, to=self.place("peer-2"))
        self.assert_placed(model, self.place("peer-2"))
        self.assert_accounted(result, model)
        bytes_by_transport = {entry["transport"]: entry["bytes"] for entry in result["traffic"]["by_transport"]}
        self.assertIn("local", bytes_by_transport)
        by_host = {entry["host"]: entry for entry in result["traffic"]["by_host"]}
        self.assertEqual(by_host["peer-1"]["transport"], "local")
        self.assertGreater(bytes_by_transport["local"], 0)
        self.assert_origin_read_once(model)

    def test_commands_and_pages_beside_the_main_job(self):
        model = write_model(self.models, size=12 * MIB)
        (seed,), (peer,) = self.cluster.start_all(self.models, peers=1)
        self.assertEqual(json.loads(peer.run("ls", "--json")), [])
        result = peer.get(model.reference)
        (listed,) = json.loads(peer.run("ls", "--json"))
        self.assertEqual(listed["reference"], model.reference + "@main")
        self.assertEqual(listed["model"], result["model"])
        self.assertEqual(listed["revision"], result["revision"])
        self.assertEqual(listed["held_bytes"], model.bytes)
        self.assertTrue(listed["complete"])
        self.assertIn(model.reference, peer.run("ls"))
        info = json.loads(peer.run("info", "--json"))
        names = json.dumps(info)
        for transport in ("tcp", "local", "rdma"):
            self.assertIn(transport, names)
        self.assertIn("martlet info", peer.run("info", "--help"))
        for process in (self.cluster.manager, self.cluster.scheduler, seed, peer):
            with self.subTest(process=process.name):
                self.assertEqual(process.page("/livez")[0], 200)
                self.assertEqual(process.page("/readyz")[0], 200)
                status, text = process.page("/metrics")
                self.assertEqual(status, 200)
                self.assertIn("# TYPE martlet_", text)
        self.assertEqual(peer.received_bytes(), model.bytes)
        for process in reversed(self.cluster.processes[1:]):
            with self.subTest(stopped=process.name):
                self.assertEqual(process.stop(), 0, "SIGTERM ends a server in order")

    def test_up_is_a_whole_cluster_in_one_process(self):
        model = write_model(self.models)
        self.cluster.start_origin(self.models)
        up = self.cluster.start_up()
        result = up.get(model.reference, to=self.place("up"))
        self.assert_placed(model, self.place("up"))
        self.assert_accounted(result, model)
        self.assert_origin_read_once(model)
        self.assertEqual(up.stop(), 0)

    def test_get_without_any_daemon(self):
        model = write_model(self.models)
        self.cluster.start_origin(self.models)
        result = self.cluster.get_alone(model.reference, to=self.place("alone")).result()
        self.assert_placed(model, self.place("alone"))
        self.assertEqual(result["traffic"]["origin_bytes"], model.bytes)
        self.assert_origin_read_once(model)
        # Its store stays: nothing is fetched again.
        result = self.cluster.get_alone(model.reference, to=self.place("alone-2")).result()
        self.assertEqual(result["resumed_bytes"], model.bytes)
        self.assert_placed(model, self.place("alone-2"))
        self.assert_origin_read_once(model)

    def test_files_are_linked_and_kept_when_they_are_there_already(self):
        model = write_model(self.models)
        _, (peer,) = self.cluster.start_all(self.models, peers=1)
        place = self.place("models")
        first = peer.get(model.reference, to=place)
        self.assertEqual(first["hard_linked"], len(model.files), f"one file system allows hard links: {first}")
        other = self.place("second")
        peer.get(model.reference, to=other)
        for path in model.files:
            self.assertEqual(os.stat(place / path).st_ino, os.stat(other / path).st_ino, f"{path} is no hard link")
        again = peer.get(model.reference, to=place)
        self.assertEqual(again["already_there"], len(model.files))
        self.assert_placed(model, place)
        copied = self.place("copied")
        result = peer.get(model.reference, "--place", "copy", to=copied)
        self.assertEqual(result["copied"], len(model.files))
        self.assertNotEqual(
            os.stat(place / "model.safetensors").st_ino, os.stat(copied / "model.safetensors").st_ino)
        self.assert_placed(model, copied)
        self.assert_origin_read_once(model)

    def test_a_single_file_of_a_model(self):
        model = write_model(self.models)
        _, (peer,) = self.cluster.start_all(self.models, peers=1)
        result = peer.get(model.reference + "/config.json", to=self.place("one"))
        self.assertEqual(result["files"], 1)
        self.assertEqual([path.name for path in self.place("one").iterdir()], ["config.json"])
        self.assertEqual(
            self.cluster.origin.bytes_served(), (model.directory / "config.json").stat().st_size)

    def test_ctrl_c_leaves_a_resumable_state(self):
        model = write_model(self.models, size=128 * MIB)
        _, (peer,) = self.cluster.start_all(self.models, peers=1)
        self.cluster.origin.fault(total_bytes_per_s=40 * MIB)
        get = peer.start_get(model.reference, to=self.place("peer"))
        wait_for("a quarter of the model is here", lambda: peer.received_bytes() > model.bytes / 4)
        get.interrupt()
        get.finish()
        self.assertEqual(get.code, 130, get.err)
        self.assertFalse(self.place("peer").exists() and any(self.place("peer").iterdir()), "nothing is placed before it is whole")
        had = peer.received_bytes()
        self.cluster.origin.fault()
        result = peer.get(model.reference, to=self.place("peer"))
        self.assert_placed(model, self.place("peer"))
        self.assert_accounted(result, model)
        self.assertGreaterEqual(result["resumed_bytes"], had, "what was verified is not fetched again")
        self.assert_origin_read_once(model)

    def test_ctrl_c_without_any_daemon(self):
        model = write_model(self.models, size=128 * MIB)
        origin = self.cluster.start_origin(self.models)
        origin.fault(total_bytes_per_s=40 * MIB)
        get = self.cluster.get_alone(model.reference, to=self.place("alone"))
        wait_for("a quarter of the model is read", lambda: origin.bytes_served() > model.bytes / 4)
        get.interrupt()
        get.finish()
        self.assertEqual(get.code, 130, get.err)
        # A new origin process: one that still sends to the interrupted reader cannot count into the second read.
        origin.stop()
        origin.start()
        result = self.cluster.get_alone(model.reference, to=self.place("alone")).result()
        self.assert_placed(model, self.place("alone"))
        self.assert_accounted(result, model)
        self.assertGreater(result["resumed_bytes"], 0)
        self.assertEqual(origin.bytes_served(), model.bytes - result["resumed_bytes"])


if __name__ == "__main__":
    unittest.main()
