"""A cluster on two machines with a cable between them: nothing is shared but what crosses it."""

import os
import sys
import unittest

from guest import ROOT, GuestPair

sys.path.insert(0, str(ROOT / "Tests" / "process"))

from quickstart import packaged_model  # noqa: E402

HALF = str(ROOT / "Tests" / "rdma" / "two_guests.py")


class TwoGuests(unittest.TestCase):

    def test_a_peer_on_another_machine_gets_the_model_by_rdma(self):
        packaged_model()
        environment = {"PYTHONUNBUFFERED": 1} | {
            name: os.environ[name] for name in ("MARTLET_EXECUTABLE", "MARTLET_TEST_TRANSPORT") if name in os.environ}
        with GuestPair(memory_mb=4096, environment=environment) as pair:
            pair.a.start(["python3", HALF, "home"])
            cluster = pair.a.wait_for_file("cluster", limit=120)
            # A guest has its directory when it is started; the file is there before its command runs.
            pair.b.start(f"until [ -s /guest/cluster ]; do sleep 0.05; done; exec python3 {HALF} away")
            pair.b.file("cluster").write_text(cluster)
            away = pair.b.wait(limit=240)
            pair.a.file("done").touch()
            home = pair.a.wait(limit=60)
        print(f"\n--- away: {away.output}\n--- home: {home.output}")
        away.check()
        home.check()


if __name__ == "__main__":
    unittest.main()
