import CAccel
import System

/// The GPUs of this machine whose memory a NIC may read and write, found through the CUDA driver API.
///
/// Not having any is a value, since most machines have none: `find` answers the reason. Found once, a value from then
/// on. Safe from any thread; nothing here may be called after a fork.
public struct Accelerators: Sendable {
    /// How they were asked, e.g. 12040 for CUDA 12.4.
    public let driverVersion: Int
    /// The GPUs this process may see, by the driver's ordinals; never empty.
    public let devices: [Accelerator]

    /// The driver's library on Linux.
    public static let driverLibrary = "libcuda.so.1"
    /// No machine has more; a driver that says otherwise is not believed.
    static let devicesMax = 256

    /// Looks for GPUs. Blocks for up to seconds on a machine that has some: the driver wakes them.
    ///
    /// - Parameters:
    ///   - library: what to load, by name or path; a test's double.
    ///   - system: where the kernel describes itself.
    /// - Returns: the GPUs; or why there are none, with the remedy: `noLibrary`, `tooOld`, `noDriver`, `noDevice`,
    ///   `denied`, `failed`.
    public static func find(
        library: String = driverLibrary, system: KernelSupport = KernelSupport()
    ) -> Result<Accelerators, AcceleratorError> {
        do throws(AcceleratorError) {
            return .success(try Accelerators(try AcceleratorCalls(loading: library), system))
        } catch {
            return .failure(error)
        }
    }

    private init(_ calls: AcceleratorCalls, _ system: KernelSupport) throws(AcceleratorError) {
        do throws(AcceleratorError) {
            try AcceleratorCalls.check(calls.table.`init`(0), "cannot use GPUs", "cuInit")
        } catch {
            // The driver says little when its kernel half is missing; the kernel knows.
            guard error.code == .noDevice || error.code == .failed, !system.hasGPUModule else { throw error }
            throw AcceleratorError(
                .noDriver,
                "the GPU driver's kernel module is not loaded; modprobe nvidia, and look at dmesg for why not",
                cause: error.cause)
        }
        var version: CInt = 0
        try AcceleratorCalls.check(
            calls.table.driver_version(&version), "cannot ask the GPU driver its version", "cuDriverGetVersion")
        driverVersion = Int(version)
        var count: CInt = 0
        try AcceleratorCalls.check(calls.table.device_count(&count), "cannot count GPUs", "cuDeviceGetCount")
        guard count > 0 else {
            throw AcceleratorError(
                .noDevice,
                "there is no GPU that this process may see; look at nvidia-smi -L and CUDA_VISIBLE_DEVICES")
        }
        var found: [Accelerator] = []
        for ordinal in 0..<min(Int(count), Self.devicesMax) {
            found.append(try Accelerator(ordinal, calls, system))
        }
        devices = found
    }
}
