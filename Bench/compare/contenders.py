"""The programs, how each is run at its best, and what is read from it."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

GIB = 1 << 30
LIMIT_S = 120
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MARTLET_")}


@dataclasses.dataclass
class Contender:
    """One program in one setting: `run` moves the bytes once."""

    name: str
    group: str
    tuning: str
    run: Callable[[], dict]
    is_martlet: bool = False


class Process:
    """A process whose processor time is known once it has ended."""

    def __init__(self, *words: str, environment: dict | None = None):
        self.output = tempfile.TemporaryFile()
        self.words = words
        self.popen = subprocess.Popen(
            words, stdout=self.output, stderr=subprocess.STDOUT, env={**ENVIRONMENT, **(environment or {})})

    def finish(self, ended: bool = True) -> tuple[str, float]:
        """What it said, and its processor seconds; it is killed when it does not end by itself."""
        if not ended:
            self.popen.terminate()
        deadline = time.monotonic() + LIMIT_S
        while True:
            pid, status, usage = os.wait4(self.popen.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                self.popen.kill()
            time.sleep(0.002)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        with self.output as output:
            output.seek(0)
            said = output.read().decode(errors="replace")
        if ended and self.popen.returncode != 0:
            raise RuntimeError(f"{' '.join(self.words[:3])} ended with {self.popen.returncode}: {said[-300:]}")
        return said, usage.ru_utime + usage.ru_stime


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port: int):
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"nobody listens at {port}")


def await_listening(port: int):
    """Without a connection, which a server for one client would take for its client."""
    wanted = f":{port:04X}"
    for _ in range(500):
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                parts = line.split()
                if parts[1].endswith(wanted) and parts[3] == "0A":
                    return
        time.sleep(0.01)
    raise RuntimeError(f"nobody listens at {port}")


def martlet(program: str, size: int, words: list[str]) -> dict:
    output, _ = Process(
        program, "bench", "--local", "--memory", "1GiB", "--repetitions", "1", "--warm-up", "500ms", "--no-limits", "--json",
        "--bytes", str(size), *words).finish()
    result = json.loads(output[output.index("{"):])["results"][0]
    cost = result["processorSecondsPerGiB"]
    return {"bytes_per_second": result["bytesPerSecond"], "processor_s_per_gib": cost["reading"] + cost["serving"]}


def iperf3(size: int, words: list[str]) -> dict:
    port = free_port()
    server = Process("iperf3", "-s", "-1", "-p", str(port))
    await_listening(port)
    client = Process("iperf3", "-c", "127.0.0.1", "-p", str(port), "-n", str(size), "-J", *words)
    output, spent = client.finish()
    _, served = server.finish()
    end = json.loads(output)["end"]
    return {"bytes_per_second": end["sum_received"]["bits_per_second"] / 8, "processor_s_per_gib": (spent + served) / (size / GIB)}


def ucx(size: int, test: str, message: int, extra: dict) -> dict:
    port = free_port()
    environment = {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo", **extra}
    count = size // message
    words = ["-t", test, "-s", str(message), "-n", str(count), "-w", "20", "-p", str(port), "-f"]
    server = Process("ucx_perftest", *words, environment=environment)
    await_listening(port)
    client = Process("ucx_perftest", "127.0.0.1", *words, environment=environment)
    output, spent = client.finish()
    _, served = server.finish()
    final = [line for line in output.splitlines() if line.strip().startswith("Final:")] or output.splitlines()[-1:]
    numbers = re.findall(r"[0-9]+\.[0-9]+|[0-9]+", final[-1])
    # count, p50/avg latency, overall latency, average MB/s, overall MB/s, average and overall messages a second
    rate = float(numbers[-3]) * (1 << 20)
    return {"bytes_per_second": rate, "processor_s_per_gib": (spent + served) / (size / GIB)}


def libfabric(size: int, message: int) -> dict:
    port = free_port()
    count = size // message
    words = ["-p", "tcp;ofi_rxm", "-S", str(message), "-I", str(count), "-B", str(port), "-P", str(port)]
    server = Process("fi_rdm_tagged_bw", *words, "-s", "127.0.0.1")
    time.sleep(0.5)
    client = Process("fi_rdm_tagged_bw", *words, "127.0.0.1")
    output, spent = client.finish()
    _, served = server.finish()
    rate = float(output.splitlines()[-1].split()[5]) * 1e6
    return {"bytes_per_second": rate, "processor_s_per_gib": (spent + served) / (size / GIB)}


def nginx_curl(source: pathlib.Path, target: pathlib.Path, checked: bool) -> dict:
    port = free_port()
    folder = source.parent
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events {}\n"
        f"http {{ access_log off; sendfile on; sendfile_max_chunk 4m; tcp_nopush on; client_body_temp_path {folder}/n1;\n"
        f"proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3; uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n")
    server = Process("nginx", "-c", str(configuration), "-e", str(folder / "nginx.log"))
    await_port(port)
    size = source.stat().st_size
    target.unlink(missing_ok=True)
    begun = time.monotonic()
    _, spent = Process("curl", "-sS", "-o", str(target), f"http://127.0.0.1:{port}/{source.name}").finish()
    if checked:
        spent += Process("sha256sum", str(target)).finish()[1]
    seconds = time.monotonic() - begun
    _, served = server.finish(ended=False)
    if target.stat().st_size != size:
        raise RuntimeError("curl brought another number of bytes")
    return {"bytes_per_second": size / seconds, "processor_s_per_gib": (spent + served) / (size / GIB)}


def available(program: str, size: int, folder: pathlib.Path) -> tuple[list[Contender], dict]:
    """All that are installed, and why the others are left out."""
    missing: dict[str, str] = {}
    found = [
        Contender("martlet tcp", "memory", "4 MiB requests x 8, 2 connections, 1 GiB each side",
                  lambda: martlet(program, size, ["--transport", "tcp", "--size", "4MiB"]), True),
        Contender("martlet tcp, 1 connection", "memory", "4 MiB requests x 8, 1 connection, 1 GiB each side",
                  lambda: martlet(program, size, ["--transport", "tcp", "--size", "4MiB", "--streams", "1"]), True),
        Contender("martlet tcp, from registered memory", "memory", "as the first, exported from memory, not from the page cache",
                  lambda: martlet(program, size, ["--transport", "tcp", "--size", "4MiB", "--source", "memory"]), True),
        Contender("martlet tcp verified", "memory", "as the first, BLAKE3 of every piece",
                  lambda: martlet(program, size, ["--transport", "tcp", "--size", "4MiB", "--verify"]), True),
        Contender("martlet same host", "memory", "4 MiB requests x 8",
                  lambda: martlet(program, size, ["--transport", "local", "--size", "4MiB"]), True),
    ]
    if shutil.which("iperf3"):
        for length in ("128K", "1M"):
            found.append(Contender(f"iperf3 -l {length}", "memory", "1 stream; each side's buffer stays in its cache",
                                   lambda length=length: iperf3(size, ["-l", length])))
        found.append(Contender("iperf3 -Z", "memory", "1 stream, sendfile from a file of 128 KiB",
                               lambda: iperf3(size, ["-Z"])))
    else:
        missing["iperf3"] = "not installed (Debian: iperf3)"
    if shutil.which("ucx_perftest"):
        tuned = {"UCX_TCP_SNDBUF": "4m", "UCX_TCP_RCVBUF": "4m"}
        for test in ("tag_bw", "ucp_get"):
            found.append(Contender(f"UCX {test}", "memory", "UCX_TLS=tcp, 1 MiB messages, socket buffers 4 MiB",
                                   lambda test=test: ucx(size, test, 1 << 20, tuned)))
    else:
        missing["UCX"] = "not installed (Debian: ucx-utils)"
    if shutil.which("fi_rdm_tagged_bw"):
        found.append(Contender("libfabric tcp", "memory", "fi_rdm_tagged_bw, tcp;ofi_rxm, 1 MiB messages",
                               lambda: libfabric(size, 1 << 20)))
    else:
        missing["libfabric"] = "not installed (fabtests is not in Debian 12; libfabric-bin has fi_info and fi_pingpong only)"
    missing["NIXL, Mooncake"] = "their wheels are installed by hand: see Bench/compare/README.md"
    if shutil.which("nginx") and shutil.which("curl"):
        source, target = folder / "model.bin", folder / "copy.bin"
        make_file(source, min(size, 2 * GIB))
        for checked in (False, True):
            name = "nginx + curl" + (" + sha256sum" if checked else "")
            found.append(Contender(name, "file", "sendfile, 1 worker, page cache warm",
                                   lambda checked=checked: nginx_curl(source, target, checked)))
    else:
        missing["nginx + curl"] = "not installed (Debian: nginx-light, curl)"
    return found, missing


def make_file(path: pathlib.Path, size: int):
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "little") + block[8:])
