import Configuration
import Glibc
import RPC

extension CommandContext {
    /// The process's credentials for every server it runs and every client it is: from `tls.*` alone.
    func credentials(listening: [NetworkAddress]) throws -> RPCCredentials {
        switch try configuration.credentials(listening: listening) {
        case .plaintext:
            return .insecure
        case .mutualTLS(let files):
            return .mutualTLS(
                caPEM: try read(files.caPath), certPEM: try read(files.certificatePath),
                keyPEM: try read(files.keyPath))
        }
    }

    /// A PEM file: at most 1 MiB.
    private func read(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else {
            throw CommandFailure(.usage, "cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
