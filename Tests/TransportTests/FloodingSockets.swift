import Foundation

/// Connections from one loopback address that say nothing; closed together.
final class FloodingSockets {
    struct Failure: Error { let errno: Int32 }

    private let source: String
    private let port: UInt16
    private var descriptors: [CInt] = []

    init(from source: String, to port: UInt16) throws {
        self.source = source
        self.port = port
    }

    func open(_ count: Int) throws {
        for _ in 0..<count {
            let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0)
            guard descriptor >= 0 else { throw Failure(errno: errno) }
            descriptors.append(descriptor)
            guard call(descriptor, source, 0, bind) == 0 else { throw Failure(errno: errno) }
            // It goes on by itself.
            guard call(descriptor, "127.0.0.1", port, connect) == 0 || errno == EINPROGRESS else {
                throw Failure(errno: errno)
            }
        }
    }

    private func call(
        _ descriptor: CInt, _ host: String, _ port: UInt16,
        _ function: (CInt, __CONST_SOCKADDR_ARG, socklen_t) -> CInt
    ) -> CInt {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                function(descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    deinit { for descriptor in descriptors { close(descriptor) } }
}
