"""libtorrent (rasterbar), by a small client of ours: a super-seeding seeder at the origin, a session on every node."""

import pathlib
import subprocess
import time

from contenders import Contender
from contenders.aria2 import marked, start_tracker
from processes import wait_for

CLIENT = pathlib.Path(__file__).resolve().parents[1] / "libtorrent_node.py"
# Debian's binding belongs to Debian's interpreter.
PYTHON = "/usr/bin/python3"
CONNECT_SECONDS = 12


class Contestant(Contender):
    name = "libtorrent"
    tuning = (
        "BitTorrent over TCP, 1 MiB pieces, a super-seeding seeder, on nodes all peers unchoked, no DHT, no uTP, no "
        "encryption; torrent file and seeder ready before, and all nodes connected twelve seconds before the clock starts, "
        "since a super-seeding seeder offers nothing earlier; verifies every piece by SHA-1")

    @staticmethod
    def missing() -> str:
        tried = subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True, timeout=60)
        return "" if tried.returncode == 0 else "there is no libtorrent for Python: Tools/setup-bench"

    def prepare(self, nodes, seeds):
        arena = self.arena
        start_tracker(arena)
        self.addresses = [node.address for node in nodes]
        marker = arena.directory / "seeding"
        self.seeder = arena.processes.start(
            arena.origin.host, [PYTHON, CLIENT, arena.directory / "file.torrent", arena.file.parent, marker, "seed"],
            arena.log("seeder"))
        wait_for("libtorrent's seeder is ready", marker.exists, 120)
        for node in nodes:
            place = arena.place(node)
            node.process = arena.processes.start(
                node, [PYTHON, CLIENT, arena.directory / "file.torrent", place, place / "done", "fetch",
                       arena.origin.host.address, *self.addresses], arena.log(node.name), hold=True)
        time.sleep(CONNECT_SECONDS)

    def start(self, node):
        node.process.release()

    def finished(self, node):
        return marked(self.arena, node)

    def result(self, node):
        return self.arena.place(node) / self.arena.file.name
