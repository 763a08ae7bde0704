"""What the process tests have in common: one cluster a test, and the claims they all make."""

import pathlib
import re
import signal
import unittest

from cluster import Cluster, Command
from models import Model, digests

# A test run that is ended from outside ends what it started, as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


class ClusterTest(unittest.TestCase):
    """A test with a cluster of its own in `self.cluster`; its models lie below `self.models`."""

    longMessage = True

    def setUp(self):
        self.cluster = Cluster(re.sub(r"[^a-z]+", "-", self._testMethodName.removeprefix("test_"))[:24].strip("-"))
        self.models = self.cluster.directory / "models"
        self.models.mkdir()
        self.addCleanup(self._end)

    def _end(self):
        outcome = self._outcome.result
        went_wrong = any(getattr(test, "test_case", test) is self for test, _ in outcome.failures + outcome.errors)
        self.cluster.close(tell=went_wrong)

    def place(self, name: str) -> pathlib.Path:
        """A directory to place files in, on the stores' file system."""
        return self.cluster.directory / "placed" / name

    def assert_placed(self, model: Model, directory):
        """The directory holds the model's files and nothing else, byte for byte."""
        self.assertEqual(digests(directory), model.files, f"{directory} is not the model")

    def assert_accounted(self, result: dict, model: Model):
        """Every byte of the model came from somewhere, once."""
        traffic = result["traffic"]
        fetched = traffic["origin_bytes"] + traffic["seed_bytes"] + traffic["peer_bytes"]
        self.assertEqual(result["total_bytes"], model.bytes)
        self.assertEqual(fetched + result["resumed_bytes"], model.bytes, f"bytes are missing or twice here: {result}")

    def assert_origin_read_once(self, model: Model):
        """The origin sent each byte of the model exactly once."""
        self.assertEqual(self.cluster.origin.bytes_served(), model.bytes, f"the origin served {self.cluster.origin.stats()}")

    def assert_fails(self, command: Command, code: int, *words: str):
        """The command ended with the code and one line on stderr that says all of the words (regular expressions)."""
        command.finish()
        said = command.err.strip()
        self.assertEqual(command.code, code, f"it said: {(said or command.out)[:600]}")
        self.assertEqual(len(said.splitlines()), 1, f"not one line: {said[:600]}")
        self.assertTrue(said.startswith("martlet: "), said)
        for word in words:
            self.assertRegex(said, re.compile(word, re.IGNORECASE))
