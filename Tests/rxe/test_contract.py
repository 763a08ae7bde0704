"""The transport contract on real devices, and what else in Swift needs one, in a guest: the same binary, the same names.

What is played (the other transports, the scripted device) has run outside before, with the rest of the unit tests.

MARTLET_TEST_BINARY names the test binary (default: this checkout's debug build), MARTLET_SUITES the suites.
"""

import os
import re
import unittest

from guest import ROOT, SLOWNESS, Guest, default_backend

BINARY = os.environ.get("MARTLET_TEST_BINARY") or str(ROOT / ".build" / "debug" / "martletPackageTests.xctest")
SUITES = os.environ.get("MARTLET_SUITES") or r"TransportTests\.Contract|VerbsTests\.(RealDevice|LeaseProbe)"
# The contract's subjects, by the beginning of their names.
SUBJECTS = "rdma"


class Contract(unittest.TestCase):

    def test_swift_suites(self):
        self.assertTrue(os.path.exists(BINARY), f"{BINARY} is not built: swift build --build-tests")
        environment = {"MARTLET_RDMA": "required", "MARTLET_GUEST_PAIRS": 2, "MARTLET_CONTRACT": SUBJECTS}
        machine = Guest(memory_mb=4096, environment=environment)
        command = [BINARY, "--testing-library", "swift-testing", "--filter", SUITES]
        outcome = machine.run(command, limit=420 * SLOWNESS[default_backend()])
        self.assertEqual(outcome.code, 0, failures(outcome.output) or outcome.told())
        skipped = re.findall(r"^.*\bskipped\b.*$", outcome.output, re.MULTILINE)
        self.assertEqual(skipped, [], "a skip is a failure where the devices are there")
        count = re.search(r"Test run with (\d+) tests? in (\d+) suites? passed after ([\d.]+) seconds", outcome.output)
        self.assertIsNotNone(count, outcome.output[-2000:])
        self.assertGreater(int(count[1]), 0, f"no test matches {SUITES}")
        subjects = sorted(set(re.findall(r"passing 1 argument subject → ([\w ,]+?) to ", outcome.output)))
        print(f"\n{count[1]} tests in {count[2]} suites, {count[3]} s in the guest; transports: {'; '.join(subjects)}")


def failures(output: str) -> str:
    """The lines that say what went wrong."""
    lines = [line for line in output.splitlines() if re.search(r"recorded an issue|failed after|Fatal error|Crash", line)]
    return "\n".join(lines[:60])


if __name__ == "__main__":
    unittest.main()
