#!/usr/bin/env python3
"""Sets Martlet's own way of reading beside ib_read_bw (perftest), one after the other, several times, on one machine.

    Bench/rdma/compare.py [--bench .build/release/bench-rdma] [--rounds 5] [--sizes 65536,1048576,4194304]
                          [--queue-pairs 1,2,4] [--mebibytes 1024] [--no-verify] [--only perftest|martlet]
                          [--server-device rxe1] [--server-host 10.9.0.2] [--client-device rxe0] [--client-host 10.9.0.1]
                          [--transport rdma|tcp] [--json FILE] [--least-ratio 0.95]

Each round runs ib_read_bw, then bench-rdma, then bench-rdma with every piece verified, with the same message size, the
same number of queue pairs, the same bytes, and as many places in memory to read from and into (one a queue pair, as
ib_read_bw has it; a place for each piece on its way where pieces are verified). Figures are medians of the rounds; rates are MiB/s, as perftest's
"MB/sec". Processor time is of both processes of a pair: ib_read_bw's from start to end, by wait4(2); bench-rdma's of the
measured pieces, as it says itself, since filling and registering its arena and probing leases are no part of a read. What
a soft device's driver does in kernel threads is in neither. The exit status is 1 when a ratio is
below --least-ratio.
"""

import argparse
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ATTEMPTS = 8
LIMIT_SECONDS = 120


class Failed(Exception):
    """A run that gave no figure."""


class Running:
    """A process whose output goes to a file, and whose processor time is known once it has ended."""

    def __init__(self, command):
        self.command = command
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )
        self.descriptor = os.pidfd_open(self.process.pid)
        self.ended = False
        self.processor_seconds = 0.0

    def text(self):
        # Not seek and read: the process's own offset is the same.
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def is_over(self):
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def wait(self, limit_seconds):
        """Waits for its end; kills it at the limit. Its text."""
        if not self.ended:
            if not select.select([self.descriptor], [], [], limit_seconds)[0]:
                self.kill()
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.processor_seconds = usage.ru_utime + usage.ru_stime
            self.ended = True
            os.close(self.descriptor)
        return self.text()

    def kill(self):
        # Not by Popen: its methods would reap the process, and its processor time with it.
        signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    def end(self):
        if not self.ended:
            self.kill()
            self.wait(10)
        self.output.close()


def until(is_so, what, limit_seconds=20):
    deadline = time.monotonic() + limit_seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not happen within {limit_seconds} s")
        time.sleep(0.02)


def listens(port):
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                for line in lines:
                    fields = line.split()
                    if len(fields) > 3 and fields[1].endswith(suffix) and fields[3] == "0A":
                        return True
        except FileNotFoundError:
            pass
    return False


def perftest(options, size, queue_pairs, port):
    """One run of ib_read_bw: MiB/s and processor seconds per GiB."""
    iterations = max(5, (options.mebibytes << 20) // size // queue_pairs)
    common = ["ib_read_bw", "-F", "-s", str(size), "-q", str(queue_pairs), "-n", str(iterations), "-p", str(port)]
    server = Running(common + ["-d", options.server_device])
    client = None
    try:
        until(lambda: listens(port) or server.is_over(), "ib_read_bw's server listening")
        client = Running(common + ["-d", options.client_device, options.server_host])
        text = client.wait(LIMIT_SECONDS)
        # Its exit status says nothing: it is 1 now and then after a whole transfer, and 0 with a rate of 0 where it was
        # interrupted while it measured the cycle counter's rate.
        found = re.search(rf"^\s*{size}\s+(\d+)\s+([\d.]+)\s+([\d.]+)", text, re.MULTILINE)
        if not found or float(found.group(3)) <= 0:
            lines = [line for line in text.splitlines() if line.strip()]
            raise Failed("ib_read_bw gave no figure: " + " / ".join(lines[-4:]))
        server.wait(10)
        gibibytes = size * iterations * queue_pairs / (1 << 30)
        return {
            "rate": float(found.group(3)),
            "processor": (client.processor_seconds + server.processor_seconds) / gibibytes,
            "serving": server.processor_seconds / gibibytes,
        }
    finally:
        server.end()
        if client:
            client.end()


def martlet(options, size, queue_pairs, verify):
    """One run of bench-rdma: the same, and what was counted."""
    pieces = max(8, (options.mebibytes << 20) // size)
    depth = max(queue_pairs, min(options.depth, (options.memory_mebibytes << 20) // size))
    common = ["--message-bytes", str(size), "--depth", str(depth), "--queue-pairs", str(queue_pairs)]
    common += ["--pieces", str(pieces), "--warm-up", str(max(4, pieces // 20)), "--limit-seconds", str(LIMIT_SECONDS)]
    if not verify:
        # As many places as ib_read_bw has: one a queue pair.
        common += ["--places", str(queue_pairs)]
    place = {"rdma": options.server_host + ":0", "tcp": "127.0.0.1:0"}[options.transport]
    serve = [options.bench, "serve", "--transport", options.transport, "--address", place] + common
    if options.transport == "rdma":
        serve += ["--device", options.server_device]
    server = Running(serve)
    client = None
    try:
        until(lambda: "address" in server.text() or server.is_over(), "bench-rdma's server listening")
        found = re.search(r'"address": "([^"]+)"', server.text())
        if not found:
            raise Failed(f"bench-rdma's server said:\n{server.text()}")
        read = [options.bench, "read", "--address", found.group(1)] + common
        if options.transport == "rdma":
            read += ["--device", options.client_device]
        client = Running(read + (["--verify"] if verify else []))
        text = client.wait(LIMIT_SECONDS)
        served = server.wait(10)
        if client.process.returncode != 0 or server.process.returncode != 0:
            raise Failed(f"bench-rdma failed:\n{text}{served}")
        figures = json.loads(text.splitlines()[-1])
        serving = json.loads(served.splitlines()[-1])
        return {
            "rate": figures["mebibytesPerSecond"],
            "processor": figures["processorSecondsPerGiB"] + serving["processorSecondsPerGiB"],
            "serving": serving["processorSecondsPerGiB"],
            "allocationsServing": serving["allocationsPerPiece"],
            "allocations": figures["allocationsPerPiece"],
            "doorbells": figures["doorbellsPerRead"],
            "copies": figures["copiesPerByte"],
        }
    finally:
        server.end()
        if client:
            client.end()


def attempt(run):
    """A run's figures, after so many attempts at most; every failure is told."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return run()
        except Failed as failure:
            print(f"attempt {number} of {ATTEMPTS}: {failure}", file=sys.stderr)
    sys.exit("no figure was to be had")


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default=".build/release/bench-rdma")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=numbers, default=[64 << 10, 1 << 20, 4 << 20])
    parser.add_argument("--queue-pairs", type=numbers, default=[1, 2, 4])
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--memory-mebibytes", type=int, default=64)
    parser.add_argument("--server-device", default="rxe1")
    parser.add_argument("--server-host", default="10.9.0.2")
    parser.add_argument("--client-device", default="rxe0")
    parser.add_argument("--transport", choices=["rdma", "tcp"], default="rdma")
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--only", choices=["perftest", "martlet"])
    parser.add_argument("--least-ratio", type=float)
    parser.add_argument("--json")
    options = parser.parse_args()

    port = 18600
    rows = []
    failures = 0
    ways = []
    if options.only != "martlet":
        ways.append("perftest")
    if options.only != "perftest":
        ways += ["martlet"] if options.no_verify else ["martlet", "verified"]
    print(f"medians of {options.rounds}, {options.mebibytes} MiB a run; serving is the source's part of the CPU time")
    for size in options.sizes:
        for queue_pairs in options.queue_pairs:
            runs = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way in ways:
                    port += 1
                    if way == "perftest":
                        # A port of its own: an earlier attempt's may not be free yet.
                        ports = iter(range(port, port + 5 * ATTEMPTS))
                        runs[way].append(attempt(lambda: perftest(options, size, queue_pairs, next(ports))))
                        port += 5 * ATTEMPTS
                    else:
                        runs[way].append(attempt(lambda: martlet(options, size, queue_pairs, way == "verified")))
            row = {"messageBytes": size, "queuePairs": queue_pairs}
            text = f"{size >> 10:6} KiB {queue_pairs} QP"
            for way in ways:
                row[way] = {
                    key: None if value is None else statistics.median(run[key] for run in runs[way])
                    for key, value in runs[way][0].items()
                }
                row[way]["rates"] = [run["rate"] for run in runs[way]]
                figures = (row[way]["rate"], row[way]["processor"], row[way]["serving"])
                text += f" | {way} {figures[0]:7.1f} MiB/s {figures[1]:6.3f} CPU s/GiB ({figures[2]:.3f} serving)"
            for way in ways[1:] if ways[0] == "perftest" else []:
                row[way]["ratio"] = row[way]["rate"] / row["perftest"]["rate"]
                text += f" | {way} / perftest {row[way]['ratio']:.3f}"
            if "martlet" in ways:
                figures = row["martlet"]
                text += (
                    f" | {figures['allocations']} allocations a piece, {figures['doorbells']:.3f} doorbells a READ, "
                    f"{figures['copies']:.2f} copies a byte"
                )
                if options.least_ratio and figures.get("ratio", 1) < options.least_ratio:
                    failures += 1
                    text += f" | BELOW {options.least_ratio}"
            print(text, flush=True)
            rows.append(row)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
