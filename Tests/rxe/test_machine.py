"""A guest does what it is told, tells what it did, and leaves nothing behind."""

import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import guest
from guest import NO_EXIT_CODE, SETUP_FAILED, Guest, GuestPair, default_backend

RUN = guest.HERE / "run"


class Commands(unittest.TestCase):

    def test_exit_code_and_output_come_back(self):
        outcome = Guest(setup="setup-bare").run("echo to stdout; echo to stderr >&2; exit 42", limit=60)
        self.assertEqual(outcome.code, 42, outcome.told())
        self.assertEqual(outcome.output, "to stdout\nto stderr\n")
        print(f"\na guest from start to end: {outcome.seconds:.2f} s ({default_backend()})")

    def test_a_killed_command_says_so(self):
        self.assertEqual(Guest(setup="setup-bare").run("kill -KILL $$", limit=60).code, 128 + signal.SIGKILL)

    def test_much_output_comes_back_whole(self):
        outcome = Guest(setup="setup-bare").run("seq 200000", limit=120)
        self.assertEqual(outcome.output, "".join(f"{i}\n" for i in range(1, 200001)))

    def test_a_list_of_arguments_is_no_line_for_the_shell(self):
        outcome = Guest(setup="setup-bare").run(["printf", "%s|", "a b", "$HOME", "'"], limit=60)
        self.assertEqual(outcome.output, "a b|$HOME|'|")

    def test_a_set_up_that_fails_is_said(self):
        outcome = Guest(setup="no-such-setup").run("true", limit=60)
        self.assertEqual(outcome.code, SETUP_FAILED)
        self.assertIn("no-such-setup", outcome.output)

    def test_its_limit_ends_it(self):
        machine = Guest(setup="setup-bare").start("touch /guest/begun; echo begun; sleep 1000")
        machine.wait_for_file("begun")
        outcome = machine.wait(limit=1)
        self.assertEqual(outcome.code, NO_EXIT_CODE)
        self.assertIn("limit", outcome.how)
        self.assertEqual(outcome.output, "begun\n")

    def test_a_guest_that_goes_without_an_answer_is_told(self):
        # linux/reboot.h: LINUX_REBOOT_CMD_POWER_OFF.
        power_off = 'echo going; exec python3 -c "import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)"'
        outcome = Guest(setup="setup-bare").run(power_off, limit=60)
        self.assertEqual(outcome.code, NO_EXIT_CODE, outcome.told())
        self.assertIn("no exit code", outcome.how)
        self.assertIn("kernel log", outcome.told())
        self.assertEqual(outcome.output, "going\n")


class Surroundings(unittest.TestCase):

    def test_this_machine_is_seen_and_not_changed(self):
        mark = guest.BUILT / "mark"
        mark.write_text("as it was\n")
        self.addCleanup(mark.unlink, missing_ok=True)
        new = guest.BUILT / "made-in-a-guest"
        outcome = Guest(setup="setup-bare").run(f"cat {mark}; echo changed > {mark}; touch {new}; cat {mark}; id -u", limit=60)
        self.assertEqual(outcome.check().output, "as it was\nchanged\n0\n")
        self.assertEqual(mark.read_text(), "as it was\n")
        self.assertFalse(new.exists())

    def test_its_own_directory_is_shared(self):
        with tempfile.TemporaryDirectory(dir=guest.BUILT) as directory:
            (pathlib.Path(directory) / "given").write_text("given")
            Guest(setup="setup-bare", directory=directory).run("cat /guest/given > /guest/taken", limit=60).check()
            self.assertEqual((pathlib.Path(directory) / "taken").read_text(), "given")

    def test_environment_user_and_locked_memory(self):
        machine = Guest(setup="setup-bare", user="nobody", memlock="1024", environment={"SAID": "a 'b' $c"})
        outcome = machine.run('id -un; echo "$SAID"; ulimit -l; touch $TMPDIR/mine && echo own', limit=60)
        self.assertEqual(outcome.check().output, "nobody\na 'b' $c\n1024\nown\n")

    def test_devices_are_there_for_everybody(self):
        outcome = Guest(user="nobody", environment={"MARTLET_GUEST_PAIRS": 2}).run("ibv_devinfo", limit=60).check()
        for device in ("rxe0", "rxe1", "rxe2", "rxe3"):
            self.assertRegex(outcome.output, rf"hca_id:\s+{device}\b")
        self.assertEqual(outcome.output.count("PORT_ACTIVE"), 4)
        self.assertIn("rxe0", Guest(setup="setup-single").run("ibv_devinfo", limit=60).check().output)
        self.assertIn("No IB devices found", Guest(setup="setup-bare").run("ibv_devinfo", limit=60).output)


class Ends(unittest.TestCase):
    """Whatever ends the one who started a guest, ends the guest."""

    def start(self) -> subprocess.Popen:
        popen = subprocess.Popen(
            [sys.executable, RUN, "-t", "60", "-s", "setup-bare", "echo begun; sleep 1000"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            # Tests that run in a shell's background inherit that interrupts are ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.addCleanup(popen.stdout.close)
        said = popen.stdout.readline()
        if said != "begun\n":
            self.fail(f"the guest has not begun: {said}{popen.stdout.read()}")
        return popen

    def assert_ends(self, number: int, code: int):
        popen = self.start()
        members = children(popen.pid)
        self.assertTrue(members, "the guest is a child of the one who started it")
        popen.send_signal(number)
        self.assertEqual(popen.wait(30), code)
        end = time.monotonic() + 20
        while any(is_alive(pid) for pid in members):
            self.assertLess(time.monotonic(), end, f"still there: {[pid for pid in members if is_alive(pid)]}")
            time.sleep(0.05)
        return popen.pid

    def test_by_asking(self):
        pid = self.assert_ends(signal.SIGTERM, 130)
        self.assertFalse(list((guest.BUILT / "guests").glob(f"{pid}-*")), "its directory is still there")

    def test_by_an_interrupt(self):
        self.assert_ends(signal.SIGINT, 130)

    def test_by_killing(self):
        pid = self.assert_ends(signal.SIGKILL, -signal.SIGKILL)
        # Its directory is removed by the next.
        Guest(setup="setup-bare").run("true", limit=60).check()
        self.assertFalse(list((guest.BUILT / "guests").glob(f"{pid}-*")))


class Pairs(unittest.TestCase):

    def test_two_guests_read_each_other(self):
        with GuestPair() as pair:
            read = "ib_read_bw -d rxe0 --size 1048576 --iters 100 --CPU-freq"
            pair.b.start(f"touch /guest/up; {read}")
            pair.b.wait_for_file("up")
            a = pair.a.start(f"for i in $(seq 20); do {read} 10.8.0.2 && break; sleep 0.2; done;"
                             " cat /sys/class/net/cable0/statistics/rx_bytes").wait(limit=120)
            rate = [line.split()[3] for line in a.output.splitlines() if line.split()[:2] == ["1048576", "100"]]
            print(f"\nib_read_bw between two guests ({default_backend()}): {rate or 'no report'} MiB/s")
            self.assertGreater(int(a.output.split()[-1]), 100 << 20, a.told())

    def test_a_killed_guest_is_silent_and_the_other_goes_on(self):
        with GuestPair() as pair:
            pair.a.start(
                "until timeout 1 bash -c '</dev/tcp/10.8.0.2/7'; [ $? = 1 ]; do sleep 0.1; done; touch /guest/heard;"
                " while [ ! -e /guest/killed ]; do sleep 0.1; done;"
                # 124: nobody answers, not even with a refusal.
                " timeout 3 bash -c '</dev/tcp/10.8.0.2/7'; echo answer $?")
            pair.b.start("sleep 1000")
            pair.a.wait_for_file("heard")
            pair.b.kill()
            pair.a.file("killed").touch()
            self.assertEqual(pair.a.wait(limit=60).check().output.splitlines()[-1], "answer 124")
            self.assertEqual(pair.b.wait(limit=10).code, NO_EXIT_CODE)


def children(pid: int) -> list:
    """All processes below one."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found, open_ends = [], [pid]
    while open_ends:
        parent = open_ends.pop()
        below = [child for child, its in parents.items() if its == parent]
        found += below
        open_ends += below
    return found


def is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
