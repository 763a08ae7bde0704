"""Says beside each test's result how long it took."""

import time
import unittest


class TimedResult(unittest.TextTestResult):

    def startTest(self, test):
        self._began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok, {time.monotonic() - self._began:.1f} s")
        self.stream.flush()


def run(tests: unittest.TestSuite) -> unittest.TestResult:
    return unittest.TextTestRunner(verbosity=2, resultclass=TimedResult).run(tests)
