"""The benchmark of swarms itself: a small one, with Martlet alone, in namespaces behind limited links."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from cluster import ROOT, executable, wait_for

BENCH = ROOT / "Bench" / "swarm"
sys.path.insert(0, str(BENCH))
import network  # noqa: E402


class SwarmBench(unittest.TestCase):

    def setUp(self):
        try:
            network.check_available()
            network.check_origin()
        except network.Unavailable as why:
            self.skipTest(str(why))

    def leftovers(self, driver: int) -> list:
        mark = f"{network.PREFIX}-{driver}"
        mounts = pathlib.Path("/proc/mounts").read_text().splitlines()
        return [*network.NAMESPACES.glob(f"{mark}-*"), *pathlib.Path(tempfile.gettempdir()).glob(f"martlet-{mark}"),
                *(line for line in mounts if f"martlet-{mark}/" in line)]

    def test_two_nodes_read_the_origin_once(self):
        with tempfile.TemporaryDirectory() as output:
            run = subprocess.Popen(
                [sys.executable, BENCH / "run", "--nodes", "2", "--rounds", "1", "--mebibytes", "16", "--contenders",
                 "martlet", "--scenarios", "sync", "--output", output],
                env={**os.environ, "MARTLET_EXECUTABLE": executable()}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True)
            try:
                said, _ = run.communicate(timeout=120)
            finally:
                run.kill()
                run.wait(10)
            self.assertEqual(run.returncode, 0, said)
            (result,) = json.loads((pathlib.Path(output) / "swarm.json").read_text())["results"]
            self.assertIn("<svg", (pathlib.Path(output) / "swarm.svg").read_text())
        self.assertEqual(result["verified"], 2)
        self.assertEqual(result["origin_log"]["ratio"], 1.0)
        self.assertGreater(result["ratio"], 1.0, "faster than the bound: the links are not limited")
        self.assertEqual(self.leftovers(run.pid), [])

    def test_next_start_removes_what_a_killed_driver_left(self):
        # The link is so slow that the driver is certainly in the middle of it.
        run = subprocess.Popen(
            [sys.executable, BENCH / "run", "--nodes", "2", "--rounds", "1", "--mebibytes", "16", "--mbits", "1",
             "--goodput", "1e5", "--contenders", "martlet", "--scenarios", "sync"],
            env={**os.environ, "MARTLET_EXECUTABLE": executable()}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            network_made = f"{network.PREFIX}-{run.pid}-node2"
            wait_for("the driver has made its nodes", (network.NAMESPACES / network_made).exists, limit=60)
        finally:
            run.kill()
            run.wait(10)
        self.assertNotEqual(self.leftovers(run.pid), [])
        network.remove_leftovers()
        self.assertEqual(self.leftovers(run.pid), [])


if __name__ == "__main__":
    unittest.main()
