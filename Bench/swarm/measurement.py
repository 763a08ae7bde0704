"""What a run is judged by: the links' and the processors' counters while it went on."""

import pathlib
import threading
import time

EVERY_SECONDS = 0.25


def processor_times() -> tuple:
    """Busy (all but idle and waiting for a disk), stolen and total seconds of the machine, in ticks."""
    words = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    total = sum(words)
    return total - words[3] - words[4], words[7], total


class Sampler:
    """A thread that reads the counters four times a second; use as a context manager around the timed part."""

    def __init__(self, network):
        self.network = network
        self.samples = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Sampler":
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._take()

    def _work(self):
        while not self._stop.wait(EVERY_SECONDS):
            self._take()

    def _take(self):
        self.samples.append((time.monotonic(), self.network.counters(), processor_times()))

    def machine(self) -> dict:
        """How busy the processors were: over all, and the share of samples in which hardly anything was left of them."""
        first, last = self.samples[0][2], self.samples[-1][2]
        total = max(1, last[2] - first[2])
        shares = [
            (b[2][0] - a[2][0]) / max(1, b[2][2] - a[2][2]) for a, b in zip(self.samples, self.samples[1:])]
        return {
            "busy": round((last[0] - first[0]) / total, 3), "stolen": round((last[1] - first[1]) / total, 3),
            "saturated": round(sum(share > 0.95 for share in shares) / max(1, len(shares)), 3)}

    def moved(self, name: str) -> tuple:
        """Bytes that a host sent and received, with all headers that the bridge saw."""
        first, last = self.samples[0][1][name], self.samples[-1][1][name]
        return last[0] - first[0], last[1] - first[1]

    def course(self, names: list) -> list:
        """Per sample: seconds, and each host's rates since the one before, in Mbit/s: [t, [sent …], [received …]]."""
        rows, start = [], self.samples[0][0]
        for a, b in zip(self.samples, self.samples[1:]):
            scale = 8e-6 / max(1e-3, b[0] - a[0])
            rows.append([
                round(b[0] - start, 2), [round((b[1][n][0] - a[1][n][0]) * scale) for n in names],
                [round((b[1][n][1] - a[1][n][1]) * scale) for n in names]])
        return rows
