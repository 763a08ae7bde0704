#!/usr/bin/env python3
"""Martlet's gRPC against Python's: each as client and as server, with health and reflection.

Run separately, in an environment that has them:
    python3 -m venv DIR && DIR/bin/pip install grpcio grpcio-tools grpcio-health-checking grpcio-reflection
    swift build --product rpc-echo && DIR/bin/python Tests/interop/rpc_interop.py .build/debug/rpc-echo
Ends with status 0 when everything agrees; every wait is limited.
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import threading

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

LIMIT = 20
HERE = os.path.dirname(os.path.abspath(__file__))


def check(name, actual, expected):
    if actual != expected:
        raise AssertionError(f"{name}: expected {expected!r}, got {actual!r}")
    print(f"ok {name}")


def python_client(address, pb, pb_grpc):
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 8 << 20)]
    with grpc.insecure_channel(address, options) as channel:
        echo = pb_grpc.EchoStub(channel)
        request = pb.EchoRequest
        check("unary", echo.Unary(request(text="Grüße", payload=b"\0\xff"), timeout=LIMIT), pb.EchoResponse(text="Grüße", payload=b"\0\xff"))
        check("empty request", echo.Unary(request(), timeout=LIMIT), pb.EchoResponse())
        big = bytes(range(256)) * 8192
        check("2 MiB", echo.Unary(request(payload=big), timeout=LIMIT).payload, big)
        check("client stream", echo.Collect(iter([request(text="a"), request(text="b")]), timeout=LIMIT), pb.EchoResponse(text="a,b", index=2))
        check("server stream", [r.index for r in echo.Expand(request(times=100), timeout=LIMIT)], list(range(100)))
        check("both streams", [r.text for r in echo.Chat(iter([request(text="x"), request(text="y")]), timeout=LIMIT)], ["x", "y"])

        answer, call = echo.Unary.with_call(request(action="metadata"), metadata=[("martlet-test", "v1")], timeout=LIMIT)
        check("metadata in", answer.text, "v1")
        check("initial metadata out", dict(call.initial_metadata())["martlet-test-bin"], b"\0\xff")
        check("trailers out", dict(call.trailing_metadata())["martlet-test"], "v1")
        check("time limit travels", echo.Unary(request(action="remaining"), timeout=LIMIT).text, "some")

        def failure(work):
            try:
                work()
            except grpc.RpcError as error:
                return error
            raise AssertionError("no failure")

        error = failure(lambda: echo.Unary(request(action="fail"), timeout=LIMIT))
        check("status", (error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "nichts da: ✗"))
        check("trailer of a failure", dict(error.trailing_metadata())["martlet-why"], "test")
        check("unexpected error", failure(lambda: echo.Unary(request(action="crash"), timeout=LIMIT)).code(), grpc.StatusCode.UNKNOWN)
        check("deadline", failure(lambda: echo.Unary(request(action="wait"), timeout=0.2)).code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        unknown = channel.unary_unary("/martlet.test.v1.Echo/Nothing")
        check("unknown method", failure(lambda: unknown(b"", timeout=LIMIT)).code(), grpc.StatusCode.UNIMPLEMENTED)
        malformed = channel.unary_unary("/martlet.test.v1.Echo/Unary")
        check("malformed request", failure(lambda: malformed(b"\x0a\xff", timeout=LIMIT)).code(), grpc.StatusCode.INVALID_ARGUMENT)
        oversize = failure(lambda: echo.Unary(request(payload=bytes(5 << 20)), timeout=LIMIT))
        check("oversize request", oversize.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)

        squeezed = failure(lambda: echo.Unary(request(payload=bytes(1 << 20)), timeout=LIMIT, compression=grpc.Compression.Gzip))
        check("compressed request", squeezed.code(), grpc.StatusCode.UNIMPLEMENTED)

        stream = echo.Chat(iter(lambda: threading.Event().wait(0.01) or request(text="again"), None), timeout=LIMIT)
        next(stream)
        stream.cancel()
        check("cancelled by the client", stream.code(), grpc.StatusCode.CANCELLED)

        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ["", "martlet.test.v1.Echo"]:
            check(f"health of '{service}'", health.Check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT).status, serving)
        absent = health_pb2.HealthCheckRequest(service="absent")
        check("health of an unknown service", failure(lambda: health.Check(absent, timeout=LIMIT)).code(), grpc.StatusCode.NOT_FOUND)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT)
        check("health watch", next(watch).status, serving)
        watch.cancel()

        reflected = ProtoReflectionDescriptorDatabase(channel)
        names = sorted(reflected.get_services())
        check("reflection: services", names, [
            "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
            "martlet.test.v1.Echo"])
        pool = DescriptorPool(reflected)
        methods = pool.FindServiceByName("martlet.test.v1.Echo").methods
        check("reflection: methods", [(m.name, m.client_streaming, m.server_streaming) for m in methods], [
            ("Unary", False, False), ("Collect", True, False), ("Expand", False, True), ("Chat", True, True)])
        inner = pool.FindMessageTypeByName("martlet.test.v1.Everything.Inner")
        check("reflection: nested message", [field.name for field in inner.fields], ["name", "mode", "children"])
        try:
            pool.FindMessageTypeByName("martlet.test.v1.Absent")
            raise AssertionError("reflection found an absent message")
        except KeyError:
            print("ok reflection: absent message")


def python_server(pb, pb_grpc):
    class Echo(pb_grpc.EchoServicer):
        def Unary(self, request, context):
            if request.action == "fail":
                context.set_trailing_metadata([("martlet-why", "test")])
                context.abort(grpc.StatusCode.NOT_FOUND, "nichts da: ✗")
            return pb.EchoResponse(text=request.text)

        def Collect(self, requests, context):
            return pb.EchoResponse(text=",".join(request.text for request in requests))

        def Expand(self, request, context):
            for index in range(request.times):
                yield pb.EchoResponse(text=request.text, index=index)

        def Chat(self, requests, context):
            for request in requests:
                yield pb.EchoResponse(text=request.text)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    pb_grpc.add_EchoServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        if protoc.main(["protoc", f"-I{HERE}", f"--python_out={directory}", f"--grpc_python_out={directory}", "echo.proto"]) != 0:
            raise AssertionError("protoc failed")
        sys.path.insert(0, directory)
        import echo_pb2
        import echo_pb2_grpc

        for listen in ["127.0.0.1:0", f"unix:{directory}/echo.sock"]:
            serving = subprocess.Popen([program, "serve", listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                address = serving.stdout.readline().split()[1]
                print(f"Python's client, our server at {listen}")
                python_client(address, echo_pb2, echo_pb2_grpc)
            finally:
                serving.stdin.close()
                check("our server's end", serving.wait(LIMIT), 0)

        print("Our client, Python's server")
        server, port = python_server(echo_pb2, echo_pb2_grpc)
        try:
            ours = subprocess.run([program, "call", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True, timeout=LIMIT)
        finally:
            server.stop(1).wait(LIMIT)
        expected = ["one", "a,b,c", "x 0", "x 1", "x 2", "hello", "there", "end", "not found nichts da: ✗ test"]
        check("our client", (ours.stdout.splitlines(), ours.returncode), (expected, 0))


if __name__ == "__main__":
    main()
