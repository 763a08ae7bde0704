"""Runs the RDMA tests on this machine's devices.

    python3 Tests/rdma                    all of them
    python3 Tests/rdma test_device.py     those whose file matches the pattern

With MARTLET_RDMA=required a test that is skipped is a failure, in a guest; elsewhere only what needs a device is required,
for a machine with RDMA hardware has no cable that may be broken.
"""

import pathlib
import signal
import sys
import unittest

from devices import is_guest, is_required
from durations import run

HERE = pathlib.Path(__file__).resolve().parent


def main(pattern: str = "test_*.py") -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tests = unittest.defaultTestLoader.discover(str(HERE), pattern=pattern, top_level_dir=str(HERE))
    result = run(tests)
    if result.testsRun == 0 and not result.skipped and not result.errors:
        print(f"rdma: no test matches {pattern}", file=sys.stderr)
        return 1
    for test, reason in result.skipped:
        print(f"rdma: skipped {test}: {reason}", file=sys.stderr)
    if result.skipped and is_required() and is_guest():
        print(f"rdma: {len(result.skipped)} skipped, which is a failure here", file=sys.stderr)
        return 1
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
