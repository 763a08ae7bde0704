"""Martlet: manager and scheduler beside the origin's network, a peer on every node, `martlet get` of nginx's plain URL."""

import json
import os
import pathlib
import subprocess
import time
import urllib.request

from contenders import Contender
from processes import wait_for

METRICS = 9100


class Contestant(Contender):
    name = "martlet"
    tuning = (
        "one TCP stream a link (peer.streams=1; built in are 4, for fast networks), else built-in settings; any peer reads "
        "the origin unless there are seeds; pieces verified by BLAKE3 against what the first reader of the origin got")

    def __init__(self, arena):
        super().__init__(arena)
        self.servers = {}
        self.gets = {}
        self.ended = {}

    @staticmethod
    def executable() -> pathlib.Path:
        named = os.environ.get("MARTLET_EXECUTABLE")
        return pathlib.Path(named or pathlib.Path(__file__).resolve().parents[3] / ".build/release/martlet")

    @staticmethod
    def missing() -> str:
        return "" if Contestant.executable().exists() else "martlet is not built: make build"

    def _env(self, **more) -> dict:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MARTLET_", "HF_", "XDG_"))}
        env.update(
            HOME=str(self.arena.directory), MARTLET_CLUSTER_NAME="bench",
            # Beside it lie the authority, the operators' socket and the scheduler's identity.
            MARTLET_MANAGER_DATABASE=str(self.arena.directory / "manager.sqlite"),
            MARTLET_IDENTITY_TOKEN_FILE=str(self.arena.directory / "token"), MARTLET_LOG_LEVEL=self.arena.options.log_level)
        env.update({f"MARTLET_{key.upper()}": str(value) for key, value in more.items()})
        for setting in self.arena.options.set:
            key, _, value = setting.partition("=")
            env["MARTLET_" + key.upper().replace(".", "_")] = value
        return env

    def prepare(self, nodes, seeds):
        control, directory = self.arena.control, self.arena.directory
        manager = f"{control.address}:7600"
        self._serve(control, "manager", METRICS, manager_listen=manager)
        # By the manager's Unix socket, which every network namespace of this machine reaches.
        made = subprocess.run(
            [self.executable(), "token", "create", "--role", "scheduler,seed,peer"], env=self._env(), capture_output=True,
            text=True, timeout=60, check=True)
        (directory / "token").write_text(made.stdout)
        self._serve(
            control, "scheduler", METRICS + 1, manager_addresses=manager, scheduler_name="scheduler",
            scheduler_listen=f"{control.address}:7610")
        for host in seeds:
            self._peer(host, "seed", manager)
        for host in nodes:
            self._peer(host, "peer", manager)
        for host in [*seeds, *nodes]:
            wait_for(f"{host.name} is attached", lambda: self._is_attached(host), 60)

    def _is_attached(self, host) -> bool:
        if self.servers[host.name].poll() is not None:
            raise RuntimeError(f"the peer of {host.name} ended: {self.servers[host.name].said()}")
        return "martlet_scheduler_attached 1" in self.page(host, "/metrics")

    def _serve(self, host, command: str, metrics: int, **env):
        env[f"{command if command != 'seed' else 'peer'}_metrics_listen"] = f"127.0.0.1:{metrics}"
        process = self.arena.processes.start(
            host, [self.executable(), command], self.arena.log(f"{host.name}-{command}"), self._env(**env))

        self.servers[host.name] = process

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"martlet {command} on {host.name} ended: {process.said()}")
            return self.page(host, "/readyz", metrics) is not None

        if command in ("manager", "scheduler"):
            wait_for(f"martlet {command} is ready", ready, 60)

    def _peer(self, host, command: str, manager: str):
        place = self.arena.place(host)
        self._serve(
            host, command, METRICS, manager_addresses=manager, peer_name=host.name, peer_data_dir=place / "store",
            peer_socket=place / "s", peer_listen=f"{host.address}:7620", peer_machine=f"machine-{host.name}",
            peer_slots_bytes="128MiB", peer_min_free="0", peer_transport="tcp", peer_streams=1,
            # The origin of these networks has a private address.
            origin_allow_private="all")

    @staticmethod
    def page(host, path: str, port: int = METRICS):
        """A page beside a server's metrics, or nothing."""
        try:
            with host.inside(), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return "" if path == "/metrics" else None

    def start(self, node):
        place = self.arena.place(node)
        log = self.arena.log(f"{node.name}-get")
        self.gets[node.name] = self.arena.processes.start(
            node, [self.executable(), "get", self.arena.origin.url(self.arena.file.name), "--json", "--quiet",
                   "--to", place / "out"], log, self._env(peer_socket=place / "s"))

    def finished(self, node):
        get = self.gets[node.name]
        if node.name not in self.ended and get.poll() is not None:
            if get.code != 0:
                raise RuntimeError(f"martlet get on {node.name} ended with {get.code}: {get.said()}")
            self.ended[node.name] = time.time()
        return self.ended.get(node.name)

    def result(self, node):
        return self.arena.place(node) / "out" / self.arena.file.name

    def notes(self, node):
        said = self.gets[node.name].said(1 << 20)
        result = json.loads(said[said.index("{"):])
        traffic = result["traffic"]
        return {"seconds": result["seconds"], **{
            key: traffic[key] for key in ("origin_bytes", "seed_bytes", "peer_bytes", "wasted_bytes")}}
