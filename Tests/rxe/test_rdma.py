"""Every file of Tests/rdma in a guest of its own, where a skip is a failure.

MARTLET_EXECUTABLE names the martlet that they start (default: the newest build of this checkout).
"""

import os
import unittest

from guest import ROOT, Guest

# Seconds, where the default is too little.
LIMITS = {"test_cluster": 400}
LIMIT = 240
MEMORY_MB = {"test_cluster": 6144}


class InAGuest(unittest.TestCase):
    """One method for each file; see below."""

    def run_there(self, name: str):
        environment = {"MARTLET_RDMA": "required", "PYTHONUNBUFFERED": 1}
        if "MARTLET_EXECUTABLE" in os.environ:
            environment["MARTLET_EXECUTABLE"] = os.environ["MARTLET_EXECUTABLE"]
        machine = Guest(name=name.replace("_", "-"), memory_mb=MEMORY_MB.get(name, 2048), environment=environment)
        print(flush=True)
        outcome = machine.run(["python3", str(ROOT / "Tests" / "rdma"), f"{name}.py"], LIMITS.get(name, LIMIT), echo=True)
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
