import EchoService
import RPC

/// Serves or calls the echo service in a process of its own, for tests with other processes and languages.
///
/// `rpc-echo serve ADDRESS` prints the bound address and serves until it is killed or its standard input ends.
/// `rpc-echo call ADDRESS` makes each kind of call and prints what came; status 1 when one fails.
@main
struct EchoProgram {
    static func main() async {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let address = RPCAddress(arguments[2]) else {
            fail("usage: rpc-echo serve|call ADDRESS")
        }
        do {
            switch arguments[1] {
            case "serve": try await serve(address)
            case "call": try await call(address)
            default: fail("usage: rpc-echo serve|call ADDRESS")
            }
        } catch {
            fail("\(error)")
        }
    }

    static func serve(_ address: RPCAddress) async throws {
        let server = try RPCServer.start(
            listeners: [RPCListener(address, credentials: .insecure)], services: [.echo(EchoService())])
        print("listening \(server.addresses[0])")
        // A pipe's reader sees the line at once only when it is pushed out.
        flushStandardOutput()
        await standardInputEnd()
        await server.shutdown(grace: .seconds(1))
        print("stopped")
    }

    static func call(_ address: RPCAddress) async throws {
        let echo = EchoClient(try RPCChannel(to: address, credentials: .insecure))
        print(try await echo.unary(EchoV1.EchoRequest(text: "one"), options: .timeout(.seconds(10))).text)
        let collect = echo.collect(options: .timeout(.seconds(10)))
        for text in ["a", "b", "c"] { try await collect.send(EchoV1.EchoRequest(text: text)) }
        print(try await collect.response().text)
        for try await response in echo.expand(
            EchoV1.EchoRequest(text: "x", times: 3), options: .timeout(.seconds(10)))
        {
            print(response.text, response.index)
        }
        let chat = echo.chat(options: .timeout(.seconds(10)))
        for text in ["hello", "there"] {
            try await chat.send(EchoV1.EchoRequest(text: text))
            print(try await chat.receive()?.text ?? "nothing")
        }
        try await chat.finishSending()
        print(try await chat.receive()?.text ?? "end")
        do {
            _ = try await echo.unary(EchoV1.EchoRequest(action: "fail"), options: .timeout(.seconds(10)))
            print("no failure")
        } catch {
            print(error.status.name, error.message, error.trailers["martlet-why"] ?? "")
        }
    }
}
