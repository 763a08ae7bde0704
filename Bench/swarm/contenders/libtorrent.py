"""libtorrent (rasterbar), by a small client of its own: a super-seeding seeder beside the origin, a session on every node."""

import pathlib
import subprocess

from contenders import Contender
from contenders.aria2 import marked, start_tracker
from processes import wait_for

CLIENT = pathlib.Path(__file__).resolve().parents[1] / "libtorrent_node.py"
# Debian's binding belongs to Debian's interpreter.
PYTHON = "/usr/bin/python3"


class Contestant(Contender):
    name = "libtorrent"
    tuning = (
        "BitTorrent over TCP, 1 MiB pieces, high_performance_seed preset at the seeder with super-seeding, on nodes all peers "
        "unchoked, no DHT, no uTP, no encryption, told the addresses of all at its start; torrent file and seeder ready before; "
        "verifies every piece by SHA-1")

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

    def start(self, node):
        arena = self.arena
        node.process = arena.processes.start(
            node, [PYTHON, CLIENT, arena.directory / "file.torrent", arena.place(node), arena.place(node) / "done",
                   "fetch", arena.origin.host.address, *self.addresses], arena.log(node.name))

    def finished(self, node):
        return marked(self.arena, node)

    def result(self, node):
        return self.arena.place(node) / self.arena.file.name
