"""What a run has left behind: processes, network interfaces and namespaces, files.

Other programs may run beside it, so a run marks what is its own: by a variable that all it starts inherits, and by a
temporary directory of its own below .build.
"""

import os
import pathlib
import shutil
import tempfile

import guest

# User-Mode Linux's files of a guest's memory, which lose their names at once, and its directory for guests.
MEMORY_FILES = "vm_file-*"
HOME_DIRECTORY = pathlib.Path.home() / ".uml"


class Snapshot:
    """This machine before a run; `compare` names what is there after, and was made by it."""

    def __init__(self):
        self._mark = f"{guest.LANE}={os.getpid()}"
        os.environ[guest.LANE] = str(os.getpid())
        guest.BUILT.mkdir(parents=True, exist_ok=True)
        self._temporary = pathlib.Path(tempfile.mkdtemp(prefix="tmp-", dir=guest.BUILT))
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._temporary)
        self._before = outside()

    def compare(self) -> list:
        left = [f"process {line}" for line in self._processes()]
        left += sorted(outside() - self._before)
        left += [f"file {path}" for path in self._temporary.iterdir()]
        left += [f"file {path}" for path in (guest.BUILT / "guests").glob(f"{os.getpid()}-*")]
        shutil.rmtree(self._temporary, ignore_errors=True)
        return left

    def _processes(self) -> list:
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{entry.name}: {words[:200]}")
            except OSError:
                continue
        return found


def outside() -> set:
    """What a guest could leave outside .build, by kind and name."""
    found = {f"network interface {path.name}" for path in pathlib.Path("/sys/class/net").iterdir()}
    namespaces = pathlib.Path("/run/netns")
    found |= {f"network namespace {path.name}" for path in (namespaces.iterdir() if namespaces.exists() else ())}
    for directory in {guest.memory_directory(), guest.memory_directory(1 << 40)}:
        found |= {f"file {path}" for path in pathlib.Path(directory).glob(MEMORY_FILES)}
    found |= {f"file {HOME_DIRECTORY}"} if HOME_DIRECTORY.exists() else set()
    return found
