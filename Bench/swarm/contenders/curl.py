"""curl straight from nginx, on every node: no swarm at all."""

import shutil

from contenders import Contender


class Contestant(Contender):
    name = "curl"
    tuning = "one request a node straight from nginx; verifies nothing"

    @staticmethod
    def missing() -> str:
        return "" if shutil.which("curl") else "there is no curl"

    def start(self, node):
        # The time stamp of the marker is the end, so that polling adds nothing.
        place = self.arena.place(node)
        script = 'curl --silent --show-error --fail --output "$1" "$2" && : > "$3"'
        node.process = self.arena.processes.start(
            node, ["sh", "-c", script, "sh", self.result(node), self.arena.origin.url(self.arena.file.name),
                   place / "done"], self.arena.log(node.name))

    def finished(self, node):
        marker = self.arena.place(node) / "done"
        if marker.exists():
            return marker.stat().st_mtime
        if node.process.poll() not in (None, 0):
            raise RuntimeError(f"curl on {node.name} ended with {node.process.code}: {node.process.said()}")
        return None

    def result(self, node):
        return self.arena.place(node) / self.arena.file.name
