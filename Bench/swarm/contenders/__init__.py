"""Who competes: one module each, behind one small interface."""

import abc
import importlib
import pathlib

NAMES = ("martlet", "aria2", "libtorrent", "curl")


class Arena:
    """What a run gives its contender: hosts, the origin, and a place for each node's files."""

    def __init__(self, processes, origin, control, directory: pathlib.Path, file: pathlib.Path, options):
        self.processes, self.origin, self.control = processes, origin, control
        self.directory, self.file, self.options = directory, file, options

    def log(self, name: str) -> pathlib.Path:
        return self.directory / f"{name}.log"

    def place(self, host) -> pathlib.Path:
        """A host's own memory-backed directory, with a limit."""
        return self.directory / host.name


class Contender(abc.ABC):
    """One way of bringing a file to many nodes.

    `prepare` brings up what stands ready in a real cluster before anyone asks for a file; it is not timed. From `start` on
    it is.
    """

    name: str
    """How it is tuned, and what it verifies: printed with the results."""
    tuning: str

    def __init__(self, arena: Arena):
        self.arena = arena

    @staticmethod
    def missing() -> str:
        """Why it cannot run here, or nothing."""
        return ""

    def prepare(self, nodes: list, seeds: list):
        """Starts trackers, schedulers, daemons of the nodes, and of those seeds that read the origin before them."""

    @abc.abstractmethod
    def start(self, node):
        """The node begins to fetch the file."""

    @abc.abstractmethod
    def finished(self, node):
        """When the node had the whole file, by the wall clock in seconds; nothing before. Raises when it failed."""

    @abc.abstractmethod
    def result(self, node) -> pathlib.Path:
        """Where the file lies in the end."""

    def notes(self, node) -> dict:
        """What it says itself about a node's download."""
        return {}


def load(name: str) -> type:
    """The contender of this name."""
    return importlib.import_module(f"contenders.{name}").Contestant
