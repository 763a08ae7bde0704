#!/usr/bin/env python3
"""What BitTorrent contenders need: a torrent file's maker, and a tracker that hands out everybody at once.

    torrent.py track ADDRESS PORT
"""

import hashlib
import http.server
import os
import pathlib
import socket
import sys
import time
import urllib.parse

# 512 pieces for 512 MiB: small enough to spread soon, the same as Martlet cuts such a file into.
PIECE_BYTES = 1 << 20


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def make(file: pathlib.Path, announce: str) -> bytes:
    """A torrent file (BEP 3) of one file."""
    pieces = []
    with open(file, "rb") as content:
        while piece := content.read(PIECE_BYTES):
            pieces.append(hashlib.sha1(piece).digest())
    info = {
        "name": file.name, "length": os.path.getsize(file), "piece length": PIECE_BYTES, "pieces": b"".join(pieces)}
    return bencode({"announce": announce, "info": info})


class Tracker(http.server.BaseHTTPRequestHandler):
    """Announces over HTTP with compact answers (BEP 23): always all peers, and asked again soon, as no public tracker is."""

    protocol_version = "HTTP/1.1"
    peers = {}

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")
        answer = b""
        if "port" in query:
            peer = socket.inet_aton(self.client_address[0]) + int(query["port"][0]).to_bytes(2, "big")
            swarm = Tracker.peers.setdefault(query["info_hash"][0], {})
            if query.get("event") == ["stopped"]:
                swarm.pop(peer, None)
            else:
                swarm[peer] = time.monotonic()
            answer = bencode({
                "interval": 2, "min interval": 1, "peers": b"".join(other for other in swarm if other != peer)})
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "track":
        sys.exit(__doc__)
    http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Tracker).serve_forever()
