import CAccel

/// The driver's calls, shared by everything that was found through them.
final class AcceleratorCalls: @unchecked Sendable {
    // Safety: function pointers that never change, to a library that is never unloaded and is safe from any thread.
    let table: martlet_accel_table

    /// Loads the driver's library. Throws `noLibrary` or `tooOld`.
    init(loading library: String) throws(AcceleratorError) {
        let table = UnsafeMutablePointer<martlet_accel_table>.allocate(capacity: 1)
        defer { table.deallocate() }
        var why = [CChar](repeating: 0, count: 256)
        let result = martlet_accel_load(library, table, &why, why.count)
        let reason = String(decoding: why.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        switch Int(result) {
        case Int(MARTLET_ACCEL_LOADED): self.table = table.pointee
        case Int(MARTLET_ACCEL_TOO_OLD):
            throw AcceleratorError(
                .tooOld, "the GPU driver's library is too old (\(reason)); install a driver with CUDA 11.7 or newer")
        default:
            throw AcceleratorError(
                .noLibrary,
                "no GPU driver's library (\(reason)); install NVIDIA's driver, and give containers the GPU (docker --gpus)"
            )
        }
    }

    /// Throws what a result other than 0 means; `what` is the beginning of the sentence.
    static func check(_ result: CInt, _ what: @autoclosure () -> String, _ call: String) throws(AcceleratorError) {
        guard result != 0 else { return }
        let (code, reason): (AcceleratorError.Code, String) =
            switch Int(result) {
            case Int(MARTLET_ACCEL_INVALID_VALUE): (.invalid, "the driver does not take these arguments")
            case Int(MARTLET_ACCEL_OUT_OF_MEMORY):
                (.exhausted, "it has not enough memory left; ask for less, or end what else uses it")
            case Int(MARTLET_ACCEL_STUB_LIBRARY):
                (
                    .noDriver,
                    "the library is the toolkit's stub; take its folder out of LD_LIBRARY_PATH"
                )
            case Int(MARTLET_ACCEL_NO_DEVICE):
                (.noDevice, "there is none that this process may see; look at nvidia-smi -L and CUDA_VISIBLE_DEVICES")
            case Int(MARTLET_ACCEL_DEVICE_UNAVAILABLE), Int(MARTLET_ACCEL_NOT_PERMITTED):
                (
                    .denied,
                    "this process may not use it, or another has it alone (nvidia-smi -c); give containers the GPU (docker --gpus)"
                )
            case Int(MARTLET_ACCEL_ECC_UNCORRECTABLE):
                (.failed, "its memory has an error that cannot be corrected; look at nvidia-smi -q -d ECC")
            case Int(MARTLET_ACCEL_NOT_SUPPORTED):
                (.unsupported, "the GPU, its driver or the kernel cannot do that")
            case Int(MARTLET_ACCEL_SYSTEM_NOT_READY):
                (.noDriver, "the machine's GPUs are not ready; start nvidia-fabricmanager")
            case Int(MARTLET_ACCEL_SYSTEM_DRIVER_MISMATCH):
                (.noDriver, "the library and the kernel module are of different versions; reload the module or restart")
            default: (.failed, "the driver failed; look at dmesg for NVRM or Xid")
            }
        throw AcceleratorError(code, "\(what()): \(reason)", cause: "\(call): result \(result)")
    }
}
