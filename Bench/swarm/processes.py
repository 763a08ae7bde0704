"""Processes in the hosts' namespaces: they end with the driver, whatever ends it, and their processor time is known."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

from network import NAMESPACES, Host

TICKS = os.sysconf("SC_CLK_TCK")


def wait_for(what: str, condition, limit: float = 30.0, every: float = 0.02):
    """Polls until the condition is true (its value is returned), or fails naming what did not happen."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"after {limit:.0f} s: {what} has not happened")
        time.sleep(every)


class Process:
    """One process in a host's namespace; what it says goes to a file.

    One that is held has an open standard input until `release`.
    """

    def __init__(self, host: Host, argv: list, log: pathlib.Path, env: dict = None, hold: bool = False):
        self.host, self.argv, self.log = host, argv, log
        # The kernel kills it when the driver dies, so that not even kill -9 of the driver leaves it behind.
        words = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={NAMESPACES / host.namespace}", *map(str, argv)]
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                words, env=env, stdin=subprocess.PIPE if hold else subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True)
        self.code = None
        self._seconds = 0.0

    def release(self):
        """Ends its standard input."""
        self.popen.stdin.close()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def poll(self):
        """Its exit code, or nothing while it runs."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code = self.popen.returncode = os.waitstatus_to_exitcode(status)
                self._seconds = usage.ru_utime + usage.ru_stime
        return self.code

    def processor_seconds(self) -> float:
        """User and system time so far, of it and of its ended children."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
                self._seconds = sum(int(word) for word in words[11:15]) / TICKS
        return self._seconds

    def kill(self):
        """kill -9: no farewell."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            wait_for(f"the end of {self.argv[0]}", lambda: self.poll() is not None, 10, 0.002)

    def said(self, characters: int = 2000) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-characters:]
        return ""


class Processes:
    """All processes of one run, ended together."""

    def __init__(self):
        self.all = []

    def start(self, host: Host, argv: list, log: pathlib.Path, env: dict = None, hold: bool = False) -> Process:
        process = Process(host, argv, log, env, hold)
        self.all.append(process)
        return process

    def processor_seconds(self) -> dict:
        """By host."""
        sums = {}
        for process in self.all:
            sums[process.host.name] = sums.get(process.host.name, 0.0) + process.processor_seconds()
        return sums

    def kill_host(self, host: Host):
        """kill -9 of all that runs on one host."""
        for process in self.all:
            if process.host is host:
                process.kill()

    def close(self):
        """Ends them all, by process id. Nothing they hold is worth a farewell."""
        for process in self.all:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        for process in self.all:
            with contextlib.suppress(TimeoutError):
                process.kill()
        self.all = []
