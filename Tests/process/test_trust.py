"""Nobody gets in who should not: every port of the control plane against every actor, with processes and by hand-made calls."""

import os
import pathlib
import socket
import ssl
import subprocess
import unittest

import wire
from case import ClusterTest
from cluster import ROOT, free_port, wait_for
from models import MIB, write_model
from wire import Refused, field

ROLES = ("scheduler", "seed", "peer", "operator", "client")
REFUSED = ("unauthenticated", "permission denied")


class Forge:
    """Certificates of any kind by the cluster's own authority, whose key the test can read."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.directory = cluster.directory / "forge"
        self.directory.mkdir()
        (self.directory / "index").write_text("")
        (self.directory / "ca.conf").write_text(
            f"[ca]\ndefault_ca = d\n[d]\ndatabase = {self.directory}/index\nnew_certs_dir = {self.directory}\n"
            "rand_serial = yes\ndefault_md = sha256\npolicy = p\ncopy_extensions = copy\nunique_subject = no\n"
            "[p]\ncommonName = supplied\n")

    def make(self, name: str, uri: str, expired: bool = False, own: bool = False) -> tuple:
        """Paths of a certificate and its key; `own`: signed by itself."""
        here = self.directory / name
        key, request, certificate = (str(here) + suffix for suffix in (".key", ".csr", ".pem"))
        new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
               "-addext", f"subjectAltName=URI:{uri}", "-keyout", key]
        if own:
            self._run(*new, "-x509", "-days", "2", "-out", certificate)
            return certificate, key
        self._run(*new, "-out", request)
        span = ["20200101000000Z", "20200102000000Z"] if expired else ["20200101000000Z", "20990101000000Z"]
        authority = self.cluster.directory / "authority"
        self._run(
            "openssl", "ca", "-batch", "-notext", "-config", str(self.directory / "ca.conf"), "-in", request, "-out", certificate,
            "-cert", str(authority / "ca.pem"), "-keyfile", str(authority / "key.pem"), "-startdate", span[0], "-enddate", span[1])
        return certificate, key

    @staticmethod
    def _run(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{argv[1]}: {done.stderr}")


def member(role: int, name: str, cluster: str) -> bytes:
    """What a member says first to a manager."""
    return field(1, field(1, role) + field(2, name) + field(3, 1) + field(4, cluster) + field(5, "127.0.0.1:9"))


class Trust(ClusterTest):

    def refusals(self, process) -> float:
        return process.metric("martlet_refused_total") + process.metric("martlet_handshakes_failed_total")

    def attempt(self, port: int, path: str, message: bytes = b"", who=(None, None)) -> str:
        try:
            return wire.call(port, path, message, *who, finish=not path.endswith("Attach"))[0]
        except Refused as refused:
            return f"refused ({refused})"

    def test_every_port_against_every_actor(self):
        model = write_model(self.models, size=8 * MIB)
        _, (peer, victim) = self.cluster.start_all(self.models, peers=2)
        forge, name = Forge(self.cluster), self.cluster.name
        manager, scheduler = self.cluster.manager, self.cluster.scheduler
        ports = {"manager": (self.cluster.manager_port, manager), "scheduler": (scheduler.port, scheduler)}
        victims = victim.directory / "store" / "identity" / "peer-peer-2"
        self.cluster.run("token", "revoke", "peer/peer-2")
        wait_for("the scheduler has heard of it and cut the host off",
                 lambda: "revoked" in victim.said() or scheduler.metric("martlet_refused_total", reason="revoked") > 0)
        actors = {
            "outsider": (None, None),
            "of its own authority": forge.make("own", f"martlet://{name}/operator/x", own=True),
            "expired": forge.make("expired", f"martlet://{name}/operator/x", expired=True),
            "revoked": (str(victims / "cert.pem"), str(victims / "key.pem")),
            "of another cluster": forge.make("south", "martlet://south/operator/x"),
            "impostor": forge.make("mallory", f"martlet://{name}/peer/mallory"),
            **{role: forge.make(role, f"martlet://{name}/{role}/probe") for role in ROLES},
        }
        rows = {
            "manager": {
                "/martlet.v1.Manager/Attach": (member(3, "peer-1", name), ()),
                "/martlet.v1.Manager/ListMembers": (b"", ("operator", "client")),
                "/martlet.v1.Manager/ListClusters": (b"", ("operator", "client")),
                "/martlet.v1.Manager/PutCluster": (field(1, "forged"), ("operator",)),
                "/martlet.v1.Manager/ListSettings": (field(1, name), ("operator", "client")),
                "/martlet.v1.Manager/ChangeSettings": (field(1, "nowhere"), ("operator",)),
                "/martlet.v1.Trust/Join": (field(1, "0" * 16) + field(2, "0" * 32), ()),
                "/martlet.v1.Trust/Renew": (b"", ("impostor",) + ROLES),
                "/martlet.v1.Trust/Watch": (b"", ("impostor",) + ROLES),
                "/martlet.v1.Trust/CreateToken": (field(1, "manager") + field(2, 60), ("operator",)),
                "/martlet.v1.Trust/ListTokens": (b"", ("operator",)),
                "/martlet.v1.Trust/RevokeToken": (field(1, "none"), ("operator",)),
                "/martlet.v1.Trust/RevokeMember": (field(1, "peer") + field(2, "nobody"), ("operator",)),
                "/martlet.v1.Manager/Unknown": (b"", ()),
            },
            "scheduler": {
                "/martlet.v1.Scheduler/Attach": (
                    field(1, field(1, "peer-1") + field(2, 1) + field(3, name) + field(4, 1) + field(5, "tcp:127.0.0.1:9")), ()),
                "/martlet.v1.Trust/CreateToken": (b"", ()),
            },
        }
        # Only those who may do it in the end are let in; what they ask for here makes no sense, so that nothing changes.
        before = self.cluster.run("token", "list", "--json")
        table = []
        for server, (port, process) in ports.items():
            for path, (message, allowed) in rows[server].items():
                for actor, who in actors.items():
                    counted = self.refusals(process)
                    outcome = self.attempt(port, path, message, who)
                    table.append((server, path, actor, outcome))
                    with self.subTest(path=path, actor=actor):
                        if actor in allowed:
                            self.assertNotIn(outcome, REFUSED)
                            self.assertNotIn("refused", outcome)
                        else:
                            self.assertTrue(outcome in REFUSED + ("unimplemented",) or outcome.startswith("refused"), outcome)
                            if outcome != "unimplemented":
                                wait_for(f"{actor} at {path} is counted", lambda: self.refusals(process) > counted, limit=5)
        width = max(len(row[1]) for row in table)
        print("\n" + "\n".join(f"{server:9} {path:{width}} {actor:20} {outcome}" for server, path, actor, outcome in table))
        self.assertIn("call refused", manager.said())
        self.assertIn("call refused", scheduler.said())
        self.assertIn("join refused", manager.said())
        # No effect: the same tokens, the same cluster, and work goes on.
        after = self.cluster.run("token", "list", "--json")
        self.assertEqual(before, after)
        self.assertNotIn("forged", manager.said().replace("ListClusters", ""))
        peer.get(model.reference, to=self.place("peer-1"))
        self.assert_placed(model, self.place("peer-1"))

    def test_probes_without_grpc(self):
        """openssl, raw bytes and older TLS against the control plane's ports."""
        self.cluster.start_all(self.models, seeds=0, peers=0)
        for port in (self.cluster.manager_port, self.cluster.scheduler.port):
            for version in ("-tls1_2", "-tls1_1"):
                done = subprocess.run(
                    ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-alpn", "h2"], input="", text=True, errors="replace",
                    capture_output=True, timeout=30)
                self.assertNotEqual(done.returncode, 0, f"{version} was agreed on: {done.stdout}")
            shown = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-alpn", "h2"], input="", text=True, errors="replace",
                capture_output=True, timeout=30)
            self.assertIn("TLSv1.3", shown.stdout)
            # Plain HTTP/2, as before there was TLS, and noise: closed without a word of it.
            for garbage in (wire.PREFACE + wire.frame(4, 0, 0, b""), os.urandom(512), b"GET / HTTP/1.1\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
                    raw.sendall(garbage)
                    answer = b""
                    try:
                        while more := raw.recv(4096):
                            answer += more
                    except ConnectionError:
                        pass
                self.assertNotIn(b"grpc", answer)
                self.assertLess(len(answer), 64)
        # A server that shows its certificate to everybody keeps its key to itself.
        for path in self.cluster.directory.rglob("key.pem"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
            self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700, path)
        self.assertEqual((self.cluster.directory / "manager.sock").stat().st_mode & 0o777, 0o600)
        self.assertNotIn("PRIVATE KEY", "".join(p.said() for p in self.cluster.processes))

    def test_a_peer_without_a_token_or_with_a_spent_one_stays_out(self):
        self.cluster.start_manager()
        peer = {
            "MARTLET_PEER_DATA_DIR": str(self.cluster.directory / "store"), "MARTLET_PEER_LISTEN": f"127.0.0.1:{free_port()}",
            "MARTLET_PEER_SOCKET": str(self.cluster.directory / "s"), "MARTLET_PEER_SLOTS_BYTES": "32MiB",
            "MARTLET_PEER_NAME": "late"}
        self.assert_fails(
            self.cluster.command("peer", **peer, MARTLET_IDENTITY_TOKEN_FILE=None), 4, "no valid certificate",
            "martlet token create --role peer")
        for_seeds = self.cluster.make_token("seed")
        self.assert_fails(
            self.cluster.command("peer", **peer, MARTLET_IDENTITY_TOKEN_FILE=None, MARTLET_IDENTITY_TOKEN=for_seeds), 4,
            "the token is for seed")
        revoked = self.cluster.make_token("peer")
        self.cluster.run("token", "revoke", revoked.split(".")[0].removeprefix("martlet-"))
        self.assert_fails(
            self.cluster.command("peer", **peer, MARTLET_IDENTITY_TOKEN_FILE=None, MARTLET_IDENTITY_TOKEN=revoked), 4,
            "the token is not valid")
        self.assert_fails(
            self.cluster.command("peer", **peer, MARTLET_TLS_INSECURE="true", MARTLET_PEER_METRICS_LISTEN="",
                                 MARTLET_MANAGER_ADDRESSES="192.0.2.1:7600"), 2, "192.0.2.1:7600", "--insecure")

    def test_certificates_are_renewed_while_everything_runs(self):
        model = write_model(self.models, size=8 * MIB)
        self.cluster.start_origin(self.models)
        self.cluster.start_manager(MARTLET_MANAGER_CERTIFICATE_LIFE="12s")
        self.cluster.start_scheduler()
        self.cluster.start_seed()
        peer = self.cluster.start_peer("peer-1")
        # Past the life of all first certificates, the servers' own among them.
        wait_for("every member has renewed twice", lambda: all(
            p.said().count("certificate renewed") >= 2 for p in self.cluster.processes[2:]), limit=90)
        late = self.cluster.start_peer("peer-2")
        # Streams that began with an expired certificate are cut and come back.
        wait_for("all are attached to the manager", lambda: self.cluster.manager.metric("martlet_manager_streams") >= 4)
        for process in self.cluster.processes[2:]:
            self.assertNotIn("the manager refused", process.said())
        for host in (peer, late):
            host.get(model.reference, to=self.place(host.name))
            self.assert_placed(model, self.place(host.name))
        self.assert_origin_read_once(model)


if __name__ == "__main__":
    unittest.main()
