import CGRPC
import Synchronization

/// A gRPC call, a client's or a server's: starts its batches, and is destroyed with its last reference.
///
/// Every batch that is under way holds a reference, so that gRPC's memory outlives it.
///
/// Safety: the pointer is set once. Batches are started under the lock, as gRPC wants it. Results are read in the
/// completion of the batch that brought them, or after it.
final class CallHandle: @unchecked Sendable {
    /// Operations of a batch.
    struct Operations: OptionSet {
        let rawValue: UInt32
        static let sendInitialMetadata = Operations(rawValue: UInt32(MARTLET_RPC_SEND_INITIAL_METADATA))
        static let sendMessage = Operations(rawValue: UInt32(MARTLET_RPC_SEND_MESSAGE))
        static let sendClose = Operations(rawValue: UInt32(MARTLET_RPC_SEND_CLOSE))
        static let sendStatus = Operations(rawValue: UInt32(MARTLET_RPC_SEND_STATUS))
        static let receiveInitialMetadata = Operations(rawValue: UInt32(MARTLET_RPC_RECEIVE_INITIAL_METADATA))
        static let receiveMessage = Operations(rawValue: UInt32(MARTLET_RPC_RECEIVE_MESSAGE))
        static let receiveStatus = Operations(rawValue: UInt32(MARTLET_RPC_RECEIVE_STATUS))
        static let receiveClose = Operations(rawValue: UInt32(MARTLET_RPC_RECEIVE_CLOSE))
        static let waitForReady = Operations(rawValue: UInt32(MARTLET_RPC_WAIT_FOR_READY))
    }

    /// The longest status message that travels; metadata as a whole may have 8 KiB.
    private static let statusTextBytesMax = 1024

    private let call: OpaquePointer
    private let lock = Mutex(())

    init(_ call: OpaquePointer) { self.call = call }

    deinit { martlet_rpc_call_destroy(call) }

    /// Starts a batch. False: gRPC refused it, and `completion` is never called.
    func start(
        _ operations: Operations, message: [UInt8] = [], status: RPCStatus = .ok, statusText: String = "",
        completion: @escaping @Sendable (Bool) -> Void
    ) -> Bool {
        let tag = Tag.retained { success in withExtendedLifetime(self) { completion(success) } }
        let text = Self.shortened(statusText)
        let result = message.withUnsafeBufferPointer { message in
            text.withUnsafeBufferPointer { text in
                lock.withLock { _ in
                    martlet_rpc_start(
                        call, operations.rawValue, message.baseAddress, message.count, status.rawValue,
                        text.baseAddress,
                        text.count, tag)
                }
            }
        }
        if result != 0 { Tag.release(tag) }
        return result == 0
    }

    /// Ends the call, as seen from this side, with this status unless it has one.
    func cancel(_ status: RPCStatus, _ text: String) { martlet_rpc_cancel(call, status.rawValue, text) }

    /// Adds to the metadata to be sent: before its batch is started, by the one who starts it.
    func add(_ metadata: RPCMetadata, trailing: Bool) {
        for pair in metadata.pairs {
            Array(pair.name.utf8).withUnsafeBufferPointer { name in
                pair.value.withUnsafeBufferPointer { value in
                    martlet_rpc_add_metadata(
                        call, trailing ? 1 : 0, name.baseAddress, name.count, value.baseAddress, value.count)
                }
            }
        }
    }

    /// The message that a batch received; nil: there are no more.
    func takeMessage() -> [UInt8]? {
        let count = martlet_rpc_message_count(call)
        guard count >= 0 else { return nil }
        return [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, initialized in
            martlet_rpc_take_message(call, buffer.baseAddress)
            initialized = Int(count)
        }
    }

    /// The metadata that a batch received.
    func receivedMetadata(trailing: Bool) -> RPCMetadata {
        var metadata = RPCMetadata()
        let which: Int32 = trailing ? 1 : 0
        for index in 0..<martlet_rpc_metadata_count(call, which) {
            metadata.addReceived(
                Self.text(martlet_rpc_metadata_key(call, which, index)),
                Self.bytes(martlet_rpc_metadata_value(call, which, index)))
        }
        return metadata
    }

    /// How a client's call ended.
    var outcome: RPCOutcome {
        RPCOutcome(
            status: RPCStatus(rawValue: martlet_rpc_status(call)) ?? .unknown,
            message: Self.text(martlet_rpc_status_text(call)), trailers: receivedMetadata(trailing: true))
    }

    /// Of a server's call that has ended: its status did not get through.
    var wasCancelled: Bool { martlet_rpc_was_cancelled(call) != 0 }

    /// Of a server's call: what was asked for.
    var path: String { Self.text(martlet_rpc_path(call)) }

    /// Of a server's call: the time left to its deadline; nil: it has none.
    var timeRemaining: Duration? {
        let remaining = martlet_rpc_remaining_ns(call)
        return remaining == Int64.max ? nil : .nanoseconds(remaining)
    }

    /// The other side's address.
    var peer: String {
        guard let uri = martlet_rpc_peer(call) else { return "unknown" }
        defer { gpr_free(uri) }
        return RPCAddress.peer(uri: String(cString: uri))
    }

    /// The names in the other side's verified certificate.
    var peerNames: [String] {
        var names: [String] = []
        withUnsafeMutablePointer(to: &names) { names in
            martlet_rpc_peer_names(call, names) { context, name, count in
                let bytes = UnsafeRawBufferPointer(start: name, count: count)
                context?.assumingMemoryBound(to: [String].self).pointee.append(
                    String(decoding: bytes, as: UTF8.self))
            }
        }
        return names
    }

    /// The other side's verified certificate.
    var peerCertificate: String? {
        var pem: String?
        withUnsafeMutablePointer(to: &pem) { pem in
            martlet_rpc_peer_certificate(call, pem) { context, text, count in
                let bytes = UnsafeRawBufferPointer(start: text, count: count)
                context?.assumingMemoryBound(to: String?.self).pointee = String(decoding: bytes, as: UTF8.self)
            }
        }
        return pem
    }

    private static func bytes(_ bytes: martlet_rpc_bytes) -> [UInt8] {
        [UInt8](UnsafeBufferPointer(start: bytes.bytes, count: bytes.count))
    }

    private static func text(_ bytes: martlet_rpc_bytes) -> String {
        String(decoding: UnsafeBufferPointer(start: bytes.bytes, count: bytes.count), as: UTF8.self)
    }

    /// A text cut at a character's beginning.
    private static func shortened(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        guard bytes.count > statusTextBytesMax else { return bytes }
        var end = statusTextBytesMax
        while end > 0, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return Array(bytes[..<end])
    }
}
