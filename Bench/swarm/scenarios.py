"""What happens in a run, and what it yields."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import time

from contenders import Arena, load
from measurement import Sampler
from network import Host, Network, command, remove_directory
from origin import Origin
from processes import Processes

MIB = 1 << 20
POLL_SECONDS = 0.01

NAMES = {
    "sync": "all nodes begin at once",
    "flash": "one node begins, the others all come when it has a third",
    "late": "one node begins when all others are done, and must not touch the origin",
    "killed-node": "all begin at once, one is killed (kill -9) half-way",
    "killed-seed": "a seed reads the origin for all, and is killed (kill -9) half-way",
}


@dataclasses.dataclass
class Options:
    """What all runs have in common."""

    mbits: float
    file: pathlib.Path
    directory: pathlib.Path
    sha256: str
    goodput: float = 0.0
    seeds: int = 0
    limit_seconds: float = 300.0
    log_level: str = "error"
    set: list = dataclasses.field(default_factory=list)
    keep_course: bool = False
    keep_logs: pathlib.Path = None

    @property
    def bytes(self) -> int:
        return self.file.stat().st_size


def bound(size: int, goodput: float, nodes: int) -> float:
    """The fluid bound in seconds: the origin's link, a node's link, and all uplinks together; none of them can be beaten."""
    return max(size / goodput, nodes * size / (goodput + nodes * goodput))


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class Run:
    """One contender in one scenario: builds the network, measures, verifies, and leaves nothing."""

    def __init__(self, options: Options, contender: str, scenario: str, nodes: int):
        self.options, self.kind, self.scenario, self.count = options, load(contender), scenario, nodes
        self.seed_count = max(options.seeds, 1) if scenario == "killed-seed" else options.seeds
        self.directory = options.directory / "run"

    def measure(self) -> dict:
        """Carries it out; a result that failed says why in `error`."""
        result = {"contender": self.kind.name, "scenario": self.scenario, "nodes": self.count, "seeds": self.seed_count}
        try:
            self.directory.mkdir()
            with contextlib.ExitStack() as stack:
                stack.callback(self._clean)
                network = stack.enter_context(Network())
                processes = Processes()
                stack.callback(processes.close)
                result.update(self._measure(network, processes))
        except (RuntimeError, TimeoutError, OSError, ValueError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        return result

    def _clean(self):
        if self.options.keep_logs:
            self.options.keep_logs.mkdir(parents=True, exist_ok=True)
            for log in self.directory.glob("*.log"):
                (self.options.keep_logs / log.name).write_bytes(log.read_bytes())
        remove_directory(self.directory)

    def _measure(self, network: Network, processes: Processes) -> dict:
        options = self.options
        origin_host = network.add("origin", "10.77.0.1", options.mbits)
        control = network.add("control", "10.77.0.2")
        seeds = [network.add(f"seed{i + 1}", f"10.77.2.{i + 1}", options.mbits) for i in range(self.seed_count)]
        nodes = [network.add(f"node{i + 1}", f"10.77.1.{i + 1}", options.mbits) for i in range(self.count)]
        origin = Origin(origin_host, processes, options.file.parent, self.directory / "origin")
        arena = Arena(processes, origin, control, self.directory, options.file, options)
        for host in [*seeds, *nodes]:
            arena.place(host).mkdir()
            limit = options.bytes * 5 // 4 + 64 * MIB
            command("mount", "-t", "tmpfs", "-o", f"size={limit}", "swarm", str(arena.place(host)))
        contender = self.kind(arena)
        contender.prepare(nodes, seeds)
        before = processes.processor_seconds()
        with Sampler(network) as sampler:
            ends, began, killed = self._play(contender, network, processes, origin, nodes, seeds)
        # Afterwards every node's bytes are compared with the published digest: contenders need not be believed.
        survivors = [node for node in nodes if node not in killed]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for node, digest in zip(survivors, pool.map(sha256, map(contender.result, survivors))):
                if digest != options.sha256:
                    raise RuntimeError(f"{node.name} has other bytes than the origin")
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in processes.processor_seconds().items()}
        seconds = max(ends.values()) - began
        least = bound(options.bytes, options.goodput, len(survivors) if self.scenario != "late" else 1)
        names = [host.name for host in [origin_host, *seeds, *nodes]]
        result = {
            "seconds": round(seconds, 3), "bound_seconds": round(least, 3), "ratio": round(seconds / least, 4),
            "first_seconds": round(min(ends.values()) - began, 3),
            "origin_wire_ratio": round(sampler.moved("origin")[0] / options.bytes, 4),
            "origin_log": self._origin_bytes(origin), "processor_seconds": round(sum(spent.values()), 2),
            "processor_seconds_of_nodes": round(sum(spent.get(node.name, 0) for node in nodes) / len(nodes), 2),
            "machine": sampler.machine(), "ends": {name: round(end - began, 2) for name, end in ends.items()},
            "notes": {node.name: contender.notes(node) for node in survivors}, "verified": len(survivors)}
        if self.scenario == "late":
            result["late_origin"] = self.late_origin
        if options.keep_course:
            result["course"] = {"hosts": names, "rows": sampler.course(names)}
        return result

    def _origin_bytes(self, origin: Origin) -> dict:
        served = origin.served()
        return {"requests": served["requests"], "ratio": round(served["bytes"] / self.options.bytes, 4)}

    def _play(
        self, contender, network: Network, processes: Processes, origin: Origin, nodes: list, seeds: list
    ) -> tuple:
        """The scenario itself: when each node was done, when the clock began, and who was killed."""
        size, began, killed, ends = self.options.bytes, time.time(), [], {}
        received = {name: counts[1] for name, counts in network.counters().items()}

        def share(host: Host) -> float:
            return (network.counters()[host.name][1] - received[host.name]) / size

        def finish(those: list, until=None):
            """Until they are all done, or until the condition holds."""
            limit = time.monotonic() + self.options.limit_seconds
            while True:
                for node in those:
                    if node.name not in ends and node not in killed:
                        end = contender.finished(node)
                        if end:
                            ends[node.name] = end
                if until and until():
                    return
                if all(node.name in ends or node in killed for node in those):
                    if until:
                        raise RuntimeError("all were done before the moment of the scenario came")
                    return
                if time.monotonic() > limit:
                    missing = [node.name for node in those if node.name not in ends and node not in killed]
                    raise TimeoutError(f"not done within {self.options.limit_seconds:.0f} s: {' '.join(missing)}")
                time.sleep(POLL_SECONDS)

        first, rest = nodes[:1], nodes[1:]
        if self.scenario == "flash":
            contender.start(nodes[0])
            finish(first, until=lambda: share(nodes[0]) > 1 / 3)
            # The crowd is what is timed: it cannot have come earlier than it did.
            began = time.time()
            for node in rest:
                contender.start(node)
            finish(nodes)
        elif self.scenario == "late":
            *early, late = nodes
            for node in early:
                contender.start(node)
            finish(early)
            time.sleep(1)
            ends.clear()
            before, link = origin.served(), network.counters()["origin"][0]
            began = time.time()
            contender.start(late)
            finish([late])
            self.late_origin = {
                "bytes": origin.served()["bytes"] - before["bytes"],
                "requests": origin.served()["requests"] - before["requests"],
                "link_bytes": network.counters()["origin"][0] - link}
        else:
            for node in nodes:
                contender.start(node)
            if self.scenario == "killed-node":
                finish(nodes, until=lambda: share(nodes[-1]) > 1 / 2)
                processes.kill_host(nodes[-1])
                killed.append(nodes[-1])
                ends.pop(nodes[-1].name, None)
            elif self.scenario == "killed-seed":
                finish(nodes, until=lambda: share(seeds[0]) > 1 / 2)
                processes.kill_host(seeds[0])
            finish(nodes)
        return ends, began, killed


def lone_curl(options: Options) -> float:
    """Bytes a second of payload that one curl gets through one such link while nothing else goes on."""
    directory = options.directory / "curl"
    directory.mkdir()
    processes = Processes()
    try:
        with Network() as network:
            origin = Origin(
                network.add("origin", "10.77.0.1", options.mbits), processes, options.file.parent, directory / "origin")
            node = network.add("node1", "10.77.1.1", options.mbits)
            curl = processes.start(
                node, ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--write-out",
                       "%{size_download} %{time_total}", origin.url(options.file.name)], directory / "curl.log")
            end = time.monotonic() + options.limit_seconds
            while curl.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            if curl.poll() != 0:
                raise RuntimeError(f"the lone curl gave no figure: {curl.said()}")
            size, seconds = curl.said().split()[-2:]
            return float(size) / float(seconds)
    finally:
        processes.close()
        remove_directory(directory)


def make_file(directory: pathlib.Path, size: int, seed: int) -> tuple:
    """A file of random bytes that a seed reproduces, and its SHA-256."""
    path = directory / "files" / "weights.bin"
    path.parent.mkdir()
    source, digest = random.Random(seed), hashlib.sha256()
    with open(path, "wb") as out:
        while size > 0:
            block = source.randbytes(min(size, 4 * MIB))
            out.write(block)
            digest.update(block)
            size -= len(block)
    os.chmod(path, 0o644)
    return path, digest.hexdigest()
