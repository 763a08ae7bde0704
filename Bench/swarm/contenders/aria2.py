"""aria2 as a BitTorrent client: a seeder beside the origin, an own tracker, aria2c on every node."""

import os
import pathlib
import shutil
import socket
import sys

from contenders import Contender
from processes import wait_for
import torrent

PORT = 6881
TRACKER_PORT = 6969
OPTIONS = [
    "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=true",
    "--bt-max-peers=0", "--bt-request-peer-speed-limit=1000M", "--bt-tracker-interval=2", "--seed-ratio=0.0",
    "--seed-time=60", "--file-allocation=none", "--disk-cache=64M", "--bt-min-crypto-level=plain",
    "--bt-require-crypto=false", "--max-upload-limit=0", "--max-overall-upload-limit=0", "--quiet=true",
    "--summary-interval=0", "--no-conf=true", f"--listen-port={PORT}", "--allow-overwrite=true"]


class Contestant(Contender):
    name = "aria2"
    tuning = (
        "BitTorrent, 1 MiB pieces, peers without limit, no encryption, no DHT, peer exchange, tracker asked every 2 s; "
        "torrent file and seeder at the origin ready before; verifies every piece by SHA-1")

    @staticmethod
    def missing() -> str:
        return "" if shutil.which("aria2c") else "there is no aria2c: Tools/setup-bench"

    def prepare(self, nodes, seeds):
        arena = self.arena
        start_tracker(arena)
        marker_hook(arena)
        place = arena.directory / "seeder"
        place.mkdir()
        os.link(arena.file, place / arena.file.name)
        # It need not check what it has: that would not be timed anyway.
        arena.processes.start(
            arena.origin.host, ["aria2c", *OPTIONS, "--bt-seed-unverified=true", f"--dir={place}",
                                arena.directory / "file.torrent"], arena.log("seeder"))
        wait_for("aria2's seeder listens", lambda: answers(arena.origin.host, PORT), 60)

    def start(self, node):
        arena = self.arena
        node.process = arena.processes.start(
            node, ["aria2c", *OPTIONS, f"--dir={arena.place(node)}",
                   f"--on-bt-download-complete={arena.directory / 'mark'}", arena.directory / "file.torrent"],
            arena.log(node.name), {**os.environ, "MARKER": str(arena.place(node) / "done")})

    def finished(self, node):
        return marked(self.arena, node)

    def result(self, node):
        return self.arena.place(node) / self.arena.file.name


def start_tracker(arena):
    """The tracker of a run, and its torrent file in the run's directory."""
    control = arena.control
    made = arena.directory.parent / "file.torrent"
    if not made.exists():
        made.write_bytes(torrent.make(arena.file, f"http://{control.address}:{TRACKER_PORT}/announce"))
    os.link(made, arena.directory / "file.torrent")
    process = arena.processes.start(
        control, [sys.executable, torrent.__file__, "track", control.address, TRACKER_PORT], arena.log("tracker"))

    wait_for("the tracker listens", lambda: answers(control, TRACKER_PORT) or process.poll() is not None)
    if process.poll() is not None:
        raise RuntimeError(f"the tracker ended: {process.said()}")


def answers(host, port: int) -> bool:
    """Whether anything listens there."""
    with host.inside(), socket.socket() as probe:
        return probe.connect_ex((host.address, port)) == 0


def marker_hook(arena) -> pathlib.Path:
    """A program that says by a file's time stamp when it was run."""
    hook = arena.directory / "mark"
    hook.write_text('#!/bin/sh\n: > "$MARKER"\n')
    hook.chmod(0o755)
    return hook


def marked(arena, node):
    """When the node's marker was made."""
    marker = arena.place(node) / "done"
    if marker.exists():
        return marker.stat().st_mtime
    if node.process.poll() is not None:
        raise RuntimeError(f"{node.process.argv[0]} on {node.name} ended with {node.process.code}: {node.process.said()}")
    return None
