#!/usr/bin/env python3
"""A local origin that speaks the Hugging Face hub's protocol, for tests and the quickstart.

Serves every directory ROOT/org/name as a model with one commit, and every file below ROOT as plain http under /files/.

    python3 hub_origin.py --root models --port 0 --port-file port --quiet
    HF_ENDPOINT=http://127.0.0.1:$(cat port) martlet get hf://org/name

Counts what it serves, so that a test can prove what was read and how often:

    GET  /__stats__   {"bytes": N, "requests": N, "api_requests": N, "paths": {"org/name/file": {"bytes": N, "requests": N}}}
    POST /__reset__   sets the counts to zero
    POST /__fault__   sets faults, {} clears them:
        match          only file requests whose path contains this text (default: all; "api": true faults the API too)
        times          only the first N such requests (default: all)
        status         answer with this status (retry_after: seconds for its Retry-After; error_code: its X-Error-Code)
        truncate       close the connection after N bytes of body
        no_ranges      answer 200 with the whole file to every request
        corrupt        flip a bit in every 65536th byte
        bytes_per_s    slow each response to this rate
        total_bytes_per_s  slow all responses together to this rate
        bad_names      list these names in the tree too, e.g. ["../x", "/abs"]
        token          require "Authorization: Bearer <token>" (401 without, 403 with another)
        refuse_authorization  answer file requests that carry an Authorization header with 403
        redirect       answer file requests with a 302 to this base URL + path
        wrong_range    answer ranged requests with the bytes and Content-Range of the range one byte later
        etag           use this ETag for plain files; "none" sends neither ETag nor Last-Modified
        no_head        answer HEAD with 405
        page_entries   entries per page of the tree
        foreign_next   point the tree's next page at this URL
"""

import argparse
import email.utils
import hashlib
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 1 << 20


class Digests:
    """sha256 and git blob ids of files, computed once; kept over restarts in a JSON file when one is named."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.known = {}
        if path and os.path.exists(path):
            with open(path) as file:
                self.known = json.load(file)

    def of(self, path, algorithm):
        stat = os.stat(path)
        key = f"{algorithm}:{path}:{stat.st_size}:{stat.st_mtime_ns}"
        with self.lock:
            if key in self.known:
                return self.known[key]
            digest = hashlib.new(algorithm)
            if algorithm == "sha1":
                digest.update(b"blob %d\0" % stat.st_size)
            with open(path, "rb") as file:
                while block := file.read(4 * BLOCK):
                    digest.update(block)
            self.known[key] = digest.hexdigest()
            if self.path:
                with open(self.path + ".part", "w") as file:
                    json.dump(self.known, file)
                os.replace(self.path + ".part", self.path)
            return self.known[key]


class Bucket:
    """A rate shared by all responses."""

    def __init__(self):
        self.lock = threading.Lock()
        self.due = 0.0

    def take(self, count, per_second):
        with self.lock:
            now = time.monotonic()
            self.due = max(self.due, now) + count / per_second
            wait = self.due - now
        if wait > 0:
            time.sleep(wait)


class State:
    def __init__(self, root, digests, threshold):
        self.root = os.path.realpath(root)
        self.digests = digests
        self.threshold = threshold
        self.lock = threading.Lock()
        self.bucket = Bucket()
        self.fault = {}
        self.fault_uses = 0
        self.reset()

    def reset(self):
        with self.lock:
            self.paths = {}
            self.api_requests = 0

    def count_request(self, path):
        with self.lock:
            self.paths.setdefault(path, {"bytes": 0, "requests": 0})["requests"] += 1

    def count_bytes(self, path, count):
        with self.lock:
            self.paths.setdefault(path, {"bytes": 0, "requests": 0})["bytes"] += count

    def stats(self):
        with self.lock:
            return {
                "bytes": sum(entry["bytes"] for entry in self.paths.values()),
                "requests": sum(entry["requests"] for entry in self.paths.values()),
                "api_requests": self.api_requests,
                "paths": {path: dict(entry) for path, entry in self.paths.items()},
            }

    def faults_for(self, path, is_api):
        """The faults that apply to this request; counts it against `times`."""
        with self.lock:
            fault = self.fault
            if is_api and not fault.get("api"):
                return {key: fault[key] for key in ("bad_names", "token", "page_entries", "foreign_next") if key in fault}
            if fault.get("match", "") not in path:
                return {}
            if "times" in fault:
                if self.fault_uses >= fault["times"]:
                    return {}
                self.fault_uses += 1
            return fault

    def file(self, relative):
        """The real path of a file below the root, or None."""
        path = os.path.realpath(os.path.join(self.root, relative))
        return path if path.startswith(self.root + os.sep) and os.path.isfile(path) else None

    def model_files(self, repository):
        base = os.path.join(self.root, repository)
        found = []
        for folder, folders, names in os.walk(base):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    path = os.path.join(folder, name)
                    found.append((os.path.relpath(path, base).replace(os.sep, "/"), path))
        return sorted(found)

    def oid(self, path):
        """(digest, is LFS): what the hub publishes for a file."""
        if os.path.getsize(path) >= self.threshold:
            return self.digests.of(path, "sha256"), True
        return self.digests.of(path, "sha1"), False

    def commit(self, repository):
        listing = hashlib.sha1()
        for name, path in self.model_files(repository):
            listing.update(f"{name}\0{self.oid(path)[0]}\n".encode())
        return listing.hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers are gathered and sent in one segment: without this, Nagle's algorithm costs 40 ms a response.
    wbufsize = 64 << 10
    disable_nagle_algorithm = True
    state = None
    quiet = False
    has_tls = False

    def log_message(self, format, *arguments):
        if not self.quiet:
            sys.stderr.write("%s %s\n" % (self.address_string(), format % arguments))

    # Answers.

    def reply(self, status, body=b"", headers=(), kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value, headers=()):
        self.reply(200, json.dumps(value).encode(), headers, "application/json")

    def refuse(self, status, code, message, headers=()):
        self.reply(status, json.dumps({"error": message}).encode(),
                   [("X-Error-Code", code), ("X-Error-Message", message), *headers], "application/json")

    def refused_by_fault(self, fault):
        if "token" in fault:
            given = self.headers.get("Authorization")
            if given is None:
                self.refuse(401, "GatedRepo", "Access to this model is restricted. Please log in.")
                return True
            if given != "Bearer " + fault["token"]:
                self.refuse(403, "GatedRepo", "Your token has no access to this model.")
                return True
        if fault.get("refuse_authorization") and "Authorization" in self.headers:
            self.refuse(403, "GatedRepo", "a credential came that was not for this server")
            return True
        if "status" in fault:
            headers = [("Retry-After", str(fault["retry_after"]))] if "retry_after" in fault else []
            if "error_code" in fault:
                headers.append(("X-Error-Code", fault["error_code"]))
            self.reply(fault["status"], b"fault\n", headers)
            return True
        return False

    # Requests.

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/__reset__":
            self.state.reset()
            return self.reply(200)
        if self.path == "/__fault__":
            with self.state.lock:
                self.state.fault = json.loads(body or b"{}")
                self.state.fault_uses = 0
            return self.reply(200)
        self.reply(404)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(part) for part in url.path.split("/")[1:]]
        if url.path == "/__stats__":
            return self.reply_json(self.state.stats())
        if parts[0] == "files":
            return self.serve_file("/".join(parts[1:]), None)
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self.serve_api("/".join(parts[2:4]), parts[4:], urllib.parse.parse_qs(url.query))
        if len(parts) >= 5 and parts[2] == "resolve":
            return self.serve_model_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        self.reply(404)

    def known_revision(self, repository, revision):
        """The commit, or None after an answer was sent."""
        if not os.path.isdir(os.path.join(self.state.root, repository)) or ".." in repository.split("/"):
            self.refuse(404, "RepoNotFound", "Repository not found")
            return None
        commit = self.state.commit(repository)
        if revision not in ("main", commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit

    def serve_api(self, repository, rest, query):
        state = self.state
        with state.lock:
            state.api_requests += 1
        fault = state.faults_for(self.path, True)
        # As on the hub, the listing of a gated repository is public; `"api": true` faults it too.
        if fault.get("api") and self.refused_by_fault(fault):
            return
        verb = rest[0] if rest else "revision"
        commit = self.known_revision(repository, rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return
        if verb == "revision":
            files = [{"rfilename": name} for name, _ in state.model_files(repository)]
            return self.reply_json({"_id": "0", "id": repository, "sha": commit, "private": False, "gated": False,
                                    "siblings": files})
        if verb != "tree":
            return self.reply(404)
        entries = []
        folders = set()
        for name, path in state.model_files(repository):
            folder = os.path.dirname(name)
            if folder and folder not in folders:
                folders.add(folder)
                entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
            size = os.path.getsize(path)
            oid, is_lfs = state.oid(path)
            entry = {"type": "file", "oid": "0" * 40 if is_lfs else oid, "size": size, "path": name}
            if is_lfs:
                entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 135}
                entry["xetHash"] = "0" * 64
            entries.append(entry)
        for name in fault.get("bad_names", []):
            entries.append({"type": "file", "oid": "1" * 40, "size": 3, "path": name})
        start = int(query.get("cursor", ["0"])[0])
        count = fault.get("page_entries", 1000)
        headers = []
        if start + count < len(entries):
            base = f"http://{self.headers['Host']}{urllib.parse.urlsplit(self.path).path}"
            following = f"{base}?recursive=true&expand=false&cursor={start + count}"
            headers.append(("Link", f"<{fault.get('foreign_next', following)}>; rel=\"next\""))
        self.reply_json(entries[start : start + count], headers)

    def serve_model_file(self, repository, revision, name):
        commit = self.known_revision(repository, revision)
        if commit is None:
            return
        if self.state.file(f"{repository}/{name}") is None:
            return self.refuse(404, "EntryNotFound", "Entry not found", [("X-Repo-Commit", commit)])
        self.serve_file(f"{repository}/{name}", commit)

    def serve_file(self, relative, commit):
        state = self.state
        path = state.file(relative)
        if path is None:
            return self.reply(404)
        fault = state.faults_for(relative, False)
        if self.command == "HEAD" and fault.get("no_head"):
            return self.reply(405)
        if self.command == "GET":
            state.count_request(relative)
        if self.refused_by_fault(fault):
            return
        if "redirect" in fault:
            return self.reply(302, headers=[("Location", fault["redirect"] + self.path)])
        stat = os.stat(path)
        size = stat.st_size
        headers = []
        if commit is None:
            etag = fault.get("etag", f'"{stat.st_mtime_ns:x}-{size:x}"')
            if etag != "none":
                headers += [("ETag", etag), ("Last-Modified", email.utils.formatdate(stat.st_mtime, usegmt=True))]
        else:
            etag = '"%s"' % state.oid(path)[0]
            headers += [("ETag", etag), ("X-Linked-Etag", etag), ("X-Linked-Size", str(size)), ("X-Repo-Commit", commit)]
        wanted = None
        if not fault.get("no_ranges"):
            headers.append(("Accept-Ranges", "bytes"))
            unchanged = self.headers.get("If-Range") in (None, etag, dict(headers).get("Last-Modified"))
            wanted = self.range(size) if unchanged else None
        if wanted == "refused":
            return self.reply(416, headers=[("Content-Range", f"bytes */{size}")])
        first, last = wanted or (0, size - 1)
        if wanted:
            if fault.get("wrong_range"):
                first, last = min(first + 1, size - 1), min(last + 1, size - 1)
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last + 1 - first))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.flush()
        if self.command == "GET":
            self.send_body(path, relative, first, last + 1 - first, fault)

    def range(self, size):
        """(first, last), None without a range, or "refused"."""
        text = self.headers.get("Range", "")
        if not text.startswith("bytes=") or "," in text:
            return None
        first, _, last = text[6:].partition("-")
        if not first:
            return (max(0, size - int(last)), size - 1)
        if int(first) >= size:
            return "refused"
        return (int(first), min(int(last) if last else size - 1, size - 1))

    def send_body(self, path, relative, first, length, fault):
        if "truncate" in fault and fault["truncate"] < length:
            length = fault["truncate"]
            self.close_connection = True
        rate, total = fault.get("bytes_per_s"), fault.get("total_bytes_per_s")
        block = BLOCK
        for limit in (rate, total):
            if limit:
                block = min(block, max(1024, limit // 20))
        own = Bucket()
        plain = not (self.has_tls or rate or total or fault.get("corrupt"))
        try:
            with open(path, "rb") as file:
                sent = 0
                while sent < length:
                    count = min(block, length - sent)
                    if plain:
                        written = os.sendfile(self.connection.fileno(), file.fileno(), first + sent, min(8 * BLOCK, length - sent))
                        if written == 0:
                            break
                    else:
                        data = bytearray(os.pread(file.fileno(), count, first + sent))
                        if fault.get("corrupt"):
                            for at in range(-(first + sent) % 65536, len(data), 65536):
                                data[at] ^= 1
                        if rate:
                            own.take(len(data), rate)
                        if total:
                            self.state.bucket.take(len(data), total)
                        self.connection.sendall(data)
                        written = len(data)
                    sent += written
                    self.state.count_bytes(relative, written)
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        # A client that goes away in mid-request is the tests' business, not a traceback's.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="the directory with org/name/… below it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--port-file", help="written once the server listens")
    parser.add_argument("--sha-cache", help="a JSON file that keeps digests over restarts")
    parser.add_argument("--lfs-threshold", type=int, default=10 << 20, help="files from this size on are LFS files")
    parser.add_argument("--until-stdin-closes", action="store_true",
                        help="end with the process that holds our standard input, however it ends")
    parser.add_argument("--certificate", help="serve https with this PEM file of certificate and key")
    parser.add_argument("--quiet", action="store_true", help="log no requests")
    options = parser.parse_args()
    Handler.state = State(options.root, Digests(options.sha_cache), options.lfs_threshold)
    Handler.quiet = options.quiet
    server = Server((options.host, options.port), Handler)
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Handler.has_tls = True
    if options.until_stdin_closes:
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    if options.port_file:
        with open(options.port_file + ".part", "w") as file:
            file.write(str(server.server_address[1]))
        os.replace(options.port_file + ".part", options.port_file)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
