"""ib_read_bw between two devices of this machine."""

import contextlib
import re
import subprocess
import time

from devices import Device

# The port of its own that perftest listens on, one after the other for runs at a time.
FIRST_PORT = 18515


class ReadBandwidth:
    """One run: `mb_per_s` is None where it has ended without a report, which it does at times after moving all bytes."""

    def __init__(self, reader: Device, source: Device, size_bytes: int = 1 << 20, count: int = 200, limit: float = 60):
        self.bytes = size_bytes * count
        options = ["--size", str(size_bytes), "--iters", str(count), "--port", str(FIRST_PORT), "--CPU-freq"]
        server = self._start(source, options)
        try:
            time.sleep(0.1)
            self.said = self._client(reader, source, options, limit)
        finally:
            server.kill()
            server.communicate()
        found = re.search(rf"^\s*{size_bytes}\s+{count}\s+[\d.]+\s+([\d.]+)", self.said, re.MULTILINE)
        # It says MB and counts MiB.
        self.mb_per_s = float(found[1]) * (1 << 20) / 1e6 if found else None

    def __str__(self):
        return f"{self.mb_per_s:.0f} MB/s" if self.mb_per_s else "no report"

    def _client(self, reader: Device, source: Device, options: list, limit: float) -> str:
        end = time.monotonic() + limit
        while True:
            client = self._start(reader, [*options, source.address])
            with contextlib.suppress(subprocess.TimeoutExpired):
                said = client.communicate(timeout=max(1, end - time.monotonic()))[0]
                # Its server listens a moment after it is started.
                if "Couldn't connect" not in said or time.monotonic() > end:
                    return said
                time.sleep(0.1)
                continue
            client.kill()
            raise AssertionError(f"ib_read_bw has not ended within {limit:g} s; it said: {client.communicate()[0][-2000:]}")

    @staticmethod
    def _start(device: Device, options: list) -> subprocess.Popen:
        return subprocess.Popen(
            ["ib_read_bw", "--ib-dev", device.name, "--gid-index", str(device.gid_index), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
