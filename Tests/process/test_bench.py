"""martlet bench as people use it, and its verdict in situations that are made here: one word for what holds a path back.

A situation that this machine cannot make is skipped with the reason. None of the tests looks at how fast anything is.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

EXECUTABLE = os.environ.get("MARTLET_EXECUTABLE") or str(
    pathlib.Path(__file__).resolve().parents[2] / ".build" / "debug" / "martlet"
)
LIMIT_S = 90
# The program refuses variables it does not know.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MARTLET_")}
# A measurement as short as it can be and still be one.
SHORT = ["--memory", "64MiB", "--size", "1MiB", "--duration", "700ms", "--repetitions", "2", "--json"]
ENDS_WITH = {"ok": 0, "usage": 2, "interrupted": 130}


def bench(*words: str, before: list = [], code: int = 0) -> subprocess.CompletedProcess:
    """Runs it, below the commands in `before` (ip netns exec, taskset, prlimit)."""
    done = subprocess.run(
        [*before, EXECUTABLE, "bench", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env=ENVIRONMENT,
    )
    if done.returncode != code:
        raise AssertionError(f"martlet bench ended with {done.returncode}, not {code}: {done.stderr}{done.stdout}")
    return done


def measured(*words: str, before: list = []) -> dict:
    """The one result of a run, as its JSON says it."""
    report = json.loads(bench(*words, *SHORT, before=before).stdout)
    assert report["schema"] == "martlet-bench" and report["version"] == 1, report
    assert len(report["results"]) == 1, report
    return report["results"][0]


def codes(result: dict) -> list:
    return [finding["code"] for finding in result["findings"]]


class Network:
    """A network namespace with its own loopback, or two joined by a cable; gone when the test is."""

    def __init__(self, test: unittest.TestCase):
        if os.geteuid() != 0 or not shutil.which("ip"):
            test.skipTest("a network namespace takes root and ip(8)")
        self.test = test
        self.names = []

    def run(self, *words: str):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.test.skipTest(f"this machine cannot make the situation: {' '.join(words)}: {done.stderr.strip()}")

    def add(self, name: str) -> list:
        """Makes a namespace; what to put before a command to run it there."""
        name = f"mb{os.getpid()}{name}"
        self.run("ip", "netns", "add", name)
        self.names.append(name)
        self.test.addCleanup(subprocess.run, ["ip", "netns", "del", name], check=False, capture_output=True)
        inside = ["ip", "netns", "exec", name]
        self.run(*inside, "ip", "link", "set", "lo", "up")
        return inside

    def join(self, mtu: int) -> tuple:
        """Two namespaces with a cable between 10.77.0.1 and 10.77.0.2."""
        one, two = self.add("a"), self.add("b")
        self.run("ip", "link", "add", "cable", "mtu", str(mtu), "netns", self.names[0], "type", "veth", "peer", "name",
                 "cable", "mtu", str(mtu), "netns", self.names[1])
        for inside, address in ((one, "10.77.0.1/24"), (two, "10.77.0.2/24")):
            self.run(*inside, "ip", "address", "add", address, "dev", "cable")
            self.run(*inside, "ip", "link", "set", "cable", "up")
        return one, two

    def serve(self, inside: list, *words: str):
        """Starts a far side; where it listens."""
        server = subprocess.Popen(
            [*inside, EXECUTABLE, "bench", "serve", "--one-session", "--idle", "60s", *words],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT,
        )

        def end():
            server.kill()
            server.wait(10)
            server.stdout.close()

        self.test.addCleanup(end)
        return server.stdout.readline().split()[-1]


class CommandTest(unittest.TestCase):
    """What a person sees."""

    def test_help_teaches(self):
        said = bench("--help").stdout
        for word in ("--local", "martlet bench serve", "martlet bench 10.0.0.5", "--verify", "--json", "GiB/s", "Gb/s"):
            self.assertIn(word, said)

    def test_both_sides_here_with_every_byte_compared(self):
        result = measured("--local", "--transport", "tcp", "--verify", "--validate")
        self.assertGreater(result["bytesPerSecond"], 0)
        self.assertEqual(result["copiesPerByte"] > 0.9, True)
        self.assertTrue(result["verified"] and result["validated"])
        self.assertGreater(result["limits"]["rawSocketBytesPerSecond"], 0)
        self.assertIsNotNone(result["latencySeconds"]["p99"])

    def test_a_table_a_drawing_and_values(self):
        with tempfile.TemporaryDirectory() as folder:
            drawing = pathlib.Path(folder) / "rates.svg"
            words = ["--local", "--memory", "64MiB", "--duration", "200ms", "--repetitions", "1", "--size", "64KiB,1MiB"]
            table = bench(*words, "--plot", str(drawing)).stdout
            self.assertIn("GiB/s", table)
            self.assertIn("bound: ", table)
            self.assertIn("tcp", table)
            self.assertIn("<polyline", drawing.read_text())
            values = bench(*words, "--csv").stdout.splitlines()
            self.assertEqual(len({line.count(",") for line in values}), 1, values)

    def test_interrupted_it_prints_what_was_measured(self):
        words = ["--local", "--transport", "tcp", "--memory", "64MiB", "--size", "1MiB", "--duration", "600ms"]
        running = subprocess.Popen(
            [EXECUTABLE, "bench", *words, "--repetitions", "1000", "--json"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )
        try:
            with self.assertRaises(subprocess.TimeoutExpired):
                running.communicate(timeout=6)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=LIMIT_S)
        finally:
            running.kill()
            running.communicate()
        self.assertEqual(running.returncode, ENDS_WITH["interrupted"], err)
        report = json.loads(out)
        self.assertFalse(report["results"][0]["complete"])
        self.assertGreater(len(report["results"][0]["repetitions"]), 0)

    def test_what_cannot_be_is_said_in_one_line(self):
        for words, said in (
            ([], "--local"),
            (["--local", "--size", "1KiB"], "4096"),
            (["--local", "--transport", "pigeon"], "tcp"),
            (["--local", "--depth", "0"], "--depth"),
        ):
            done = subprocess.run(
                [EXECUTABLE, "bench", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False,
                env=ENVIRONMENT,
            )
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(said, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)

    def test_nobody_there_is_said_with_the_remedy(self):
        done = bench("127.0.0.1:1", code=1)
        self.assertIn("martlet bench serve", done.stderr)


class VerdictTest(unittest.TestCase):
    """The verdict names what was made the bottleneck."""

    def test_one_core_for_everything(self):
        if not shutil.which("taskset"):
            self.skipTest("pinning takes taskset(1)")
        core = str(min(os.sched_getaffinity(0)))
        result = measured("--local", "--transport", "tcp", before=["taskset", "-c", core])
        self.assertEqual(codes(result)[0], "shared-processor", result["findings"])

    def test_capped_socket_buffers(self):
        inside = Network(self).add("buffers")
        for name in ("tcp_rmem", "tcp_wmem"):
            Network(self).run(*inside, "sysctl", "-qw", f"net.ipv4.{name}=4096 16384 32768")
        result = measured("--local", "--transport", "tcp", before=inside)
        self.assertIn("socket-buffers", codes(result), result)

    def test_a_link_that_is_rate_limited(self):
        network = Network(self)
        inside = network.add("rate")
        network.run(*inside, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "400mbit", "burst", "256k",
                    "latency", "50ms")
        result = measured("--local", "--transport", "tcp", "--no-limits", before=inside)
        self.assertIn(codes(result)[0], ("network", "losses"), result["findings"])

    def test_small_packets(self):
        network = Network(self)
        one, two = network.join(mtu=1024)
        address = network.serve(one, "--listen", "10.77.0.1:0")
        result = measured(address, "--transport", "tcp", before=two)
        self.assertIn("small-packets", codes(result), result)
        self.assertEqual(result["limits"]["mtuBytes"], 1024)

    def test_too_little_under_way(self):
        network = Network(self)
        inside = network.add("far")
        network.run(*inside, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "5ms")
        words = ["--local", "--transport", "tcp", "--no-limits", "--depth", "1", "--memory", "64MiB", "--size", "64KiB"]
        done = bench(*words, "--duration", "700ms", "--repetitions", "2", "--json", before=inside)
        result = json.loads(done.stdout)["results"][0]
        self.assertEqual(codes(result)[0], "too-few-requests", result["findings"])

    def test_memory_that_may_not_be_pinned(self):
        if not os.path.isdir("/sys/class/infiniband") or not os.listdir("/sys/class/infiniband"):
            self.skipTest("needs an RDMA device; the guests of make test-rxe have one")
        if not shutil.which("prlimit") or not shutil.which("capsh"):
            self.skipTest("lowering the limit takes prlimit(1), and capsh(1) to give CAP_IPC_LOCK away")
        low = ["prlimit", "--memlock=65536", "capsh", "--drop=cap_ipc_lock", "--", "-c", 'exec "$0" "$@"']
        result = measured("--local", "--transport", "tcp", before=low)
        self.assertEqual(codes(result)[0], "locked-memory", result["findings"])


if __name__ == "__main__":
    unittest.main()
