"""Packs a directory into an initial file system (a cpio archive of the "newc" kind), with a console in it.

    python3 cpio.py DIRECTORY ARCHIVE

The cpio program is not on every machine, and a device file needs root; an archive that says there is one does not.
The format: https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
"""

import pathlib
import stat
import sys

CONSOLE = (5, 1)


class Archive:
    """An archive being written."""

    def __init__(self, out):
        self._out = out
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple = (0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [
            self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad()
        self._out.write(content)
        self._pad()

    def end(self):
        self.add("TRAILER!!!", 0)

    def _pad(self):
        self._out.write(bytes(-self._out.tell() % 4))


def main(directory: pathlib.Path, archive: pathlib.Path):
    with open(archive, "wb") as out:
        made = Archive(out)
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            if path.is_dir():
                made.add(name, stat.S_IFDIR | 0o755)
            else:
                made.add(name, stat.S_IFREG | 0o755, path.read_bytes())
        made.add("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)
        made.end()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
