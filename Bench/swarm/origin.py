"""The origin: nginx with one file, on a host with a limited link, and a log of what it served."""

import os
import pathlib
import shutil
import socket

from network import Host
from processes import Processes, wait_for

CONFIGURATION = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format served '$status $body_bytes_sent';
    access_log {directory}/access.log served;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    sendfile on; tcp_nopush on; keepalive_timeout 60;
    server {{ listen 80; root {root}; etag on; }}
}}
"""


class Origin:
    """nginx below a directory of its own."""

    def __init__(self, host: Host, processes: Processes, root: pathlib.Path, directory: pathlib.Path):
        self.host, self.log = host, directory / "access.log"
        directory.mkdir()
        os.chmod(directory, 0o755)
        (directory / "nginx.conf").write_text(CONFIGURATION.format(directory=directory, root=root))
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        # With a master process nginx would drop to another user; as one process it stays what it is and has one pid.
        self.process = processes.start(
            host, [nginx, "-c", directory / "nginx.conf", "-p", directory], directory / "nginx.log")
        wait_for("the origin listens", self._answers)

    def url(self, name: str) -> str:
        return f"http://{self.host.address}/{name}"

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"nginx ended: {self.process.said()}")
        with self.host.inside(), socket.socket() as probe:
            return probe.connect_ex((self.host.address, 80)) == 0

    def served(self) -> dict:
        """Requests and bytes of bodies so far, of requests that have ended."""
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return {"requests": len(lines), "bytes": sum(int(words[1]) for words in lines)}
