"""A gRPC caller by hand, for what no honest client does: any path, any bytes, any certificate; the standard library alone."""

import re
import socket
import ssl
import struct
import time
import urllib.parse

STATUS = {0: "ok", 1: "cancelled", 3: "invalid argument", 7: "permission denied", 12: "unimplemented", 16: "unauthenticated"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Refused(Exception):
    """The connection was not made: which step failed, and how."""


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value) -> bytes:
    """A protobuf field: an integer, a text, or a message's bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name: str, value: str) -> bytes:
    """HPACK: a literal without indexing, without Huffman codes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def connect(port: int, certificate=None, key=None, version=ssl.TLSVersion.TLSv1_3, limit: float = 10.0) -> ssl.SSLSocket:
    """TLS, believing whatever the server shows: an attacker does not care."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(certificate, key)
    raw = socket.create_connection(("127.0.0.1", port), timeout=limit)
    try:
        return context.wrap_socket(raw)
    except OSError as error:
        raw.close()
        raise Refused(f"handshake: {type(error).__name__}") from None


def call(port: int, path: str, message: bytes, certificate=None, key=None, finish: bool = True, limit: float = 10.0) -> tuple:
    """Makes one call with one message: (status, text). A stream that is let in and says nothing more is ("open", "")."""
    tls = connect(port, certificate, key, limit=limit)
    with tls:
        block = b"".join(header(*pair) for pair in (
            (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "martlet"), ("te", "trailers"),
            ("content-type", "application/grpc")))
        body = b"\x00" + struct.pack(">I", len(message)) + message
        received = b""
        end = time.monotonic() + limit
        try:
            tls.sendall(
                PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1 if finish else 0, 1, body))
            tls.settimeout(1.0)
            while time.monotonic() < end:
                found = re.search(rb"grpc-status(.)(\d+)", received, re.DOTALL)
                if found:
                    text = re.search(rb"grpc-message(.)([ -~]+)", received, re.DOTALL)
                    status = int(found.group(2)[: found.group(1)[0]])
                    return STATUS.get(status, str(status)), urllib.parse.unquote(text.group(2).decode()) if text else ""
                try:
                    more = tls.recv(65536)
                except TimeoutError:
                    # Frames of data on the stream: it was let in.
                    if re.search(rb"content-type", received):
                        return "open", ""
                    continue
                if not more:
                    raise Refused("closed after the handshake")
                received += more
        except (ssl.SSLError, ConnectionError) as error:
            # TLS 1.3: the server judges a client's certificate after the client believes the handshake to be done.
            raise Refused(f"certificate: {type(error).__name__}") from None
    raise Refused("no answer in time")
