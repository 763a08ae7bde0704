"""Runs the tests of this directory, each in guests of its own, and sees that nothing is left behind.

    python3 Tests/rxe                     all of them
    python3 Tests/rxe test_machine.py     those whose file matches the pattern

MARTLET_GUEST_BACKEND=qemu runs them in QEMU with Debian's unmodified kernel.
"""

import pathlib
import signal
import sys
import time
import unittest

import leftovers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rdma"))

from durations import run  # noqa: E402


def main(pattern: str = "test_*.py") -> int:
    # A run that is ended from outside ends what it started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    before = leftovers.Snapshot()
    tests = unittest.defaultTestLoader.discover(str(HERE), pattern=pattern, top_level_dir=str(HERE))
    result = run(tests)
    print(f"rxe: {result.testsRun} tests in {time.monotonic() - began:.0f} s")
    left = before.compare()
    for what in left:
        print(f"rxe: left behind: {what}", file=sys.stderr)
    if result.testsRun == 0:
        print(f"rxe: no test matches {pattern}", file=sys.stderr)
    return 0 if result.wasSuccessful() and result.testsRun and not result.skipped and not left else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
