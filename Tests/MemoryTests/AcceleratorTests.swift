import AcceleratorDouble
import Foundation
import System
import Testing

@testable import Memory

private func settings(_ change: (inout AcceleratorDouble.Settings) -> Void) -> AcceleratorDouble.Settings {
    var settings = AcceleratorDouble.Settings()
    change(&settings)
    return settings
}

private func failure(_ found: Result<Accelerators, AcceleratorError>) -> AcceleratorError? {
    if case .failure(let error) = found { error } else { nil }
}

/// A folder that stands for a machine's root, with files in it.
private func withRoot<Answer>(_ files: [String: String], _ body: (String) throws -> Answer) throws -> Answer {
    let root = NSTemporaryDirectory() + "martlet-root-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: root) }
    for (path, text) in files {
        let place = URL(fileURLWithPath: "\(root)/\(path)")
        try FileManager.default.createDirectory(
            at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: place)
    }
    return try body(root)
}

@Suite struct AcceleratorTests {
    // MARK: Looking for them

    @Test func whatTheDriverSaysOfItsDevices() throws {
        let double = try AcceleratorDouble()
        let found = try double.find().get()
        #expect(found.driverVersion == 12_040)
        #expect(found.devices.map(\.name) == ["Double 0", "Double 1"])
        #expect(found.devices.map(\.pciAddress) == ["0000:a0:00.0", "0000:a1:00.0"])
        #expect(found.devices.allSatisfy { $0.exportObjection == nil && $0.ordersRemoteWrites })
        #expect(found.devices[1].title == "GPU 1 (Double 1, 0000:a1:00.0)")
        // Looking holds nothing.
        #expect(double.census.isEmpty)
    }

    @Test func noLibraryIsAReason() {
        let error = failure(Accelerators.find(library: "/nowhere/libcuda.so.1"))
        #expect(error?.code == .noLibrary)
        #expect(error?.sentence.contains("/nowhere/libcuda.so.1") == true)
        #expect(error?.sentence.contains("docker --gpus") == true)
    }

    @Test func aLibraryWithoutANeededCallIsTooOld() throws {
        let double = try AcceleratorDouble(settings { $0.without = ["COPY"] })
        let error = failure(double.find())
        #expect(error?.code == .tooOld)
        #expect(error?.sentence.contains("lacks cuMemcpyHtoD_v2") == true)
    }

    @Test(arguments: [
        (34, AcceleratorError.Code.noDriver, "LD_LIBRARY_PATH"), (46, .denied, "nvidia-smi -c"),
        (802, .noDriver, "nvidia-fabricmanager"), (803, .noDriver, "different versions"),
    ])
    func whatTheDriverRefusesIsNamed(_ result: Int, _ code: AcceleratorError.Code, _ remedy: String) throws {
        let double = try AcceleratorDouble(settings { $0.initResult = result })
        let error = failure(double.find())
        #expect(error?.code == code)
        #expect(error?.sentence.contains(remedy) == true)
        #expect(error?.description.hasSuffix("[cuInit: result \(result)]") == true)
    }

    /// The driver answers the same without its kernel half as without a device; the kernel tells them apart.
    @Test(arguments: [100, 999])
    func aMissingKernelModuleIsNamed(_ result: Int) throws {
        let double = try AcceleratorDouble(settings { $0.initResult = result })
        #expect(failure(double.find())?.code == .noDriver)
        #expect(failure(double.find())?.sentence.contains("modprobe nvidia") == true)
        try withRoot(["sys/module/nvidia/version": "570.1\n"]) { root in
            let error = failure(Accelerators.find(library: double.path, system: KernelSupport(root: root)))
            #expect(error?.code == (result == 100 ? .noDevice : .failed))
        }
    }

    @Test func noDeviceIsAReason() throws {
        let double = try AcceleratorDouble(settings { $0.devices = 0 })
        #expect(failure(double.find())?.code == .noDevice)
        #expect(failure(double.find())?.sentence.contains("CUDA_VISIBLE_DEVICES") == true)
    }

    // MARK: Memory

    @Test func memoryIsTakenCopiedAndGivenBack() throws {
        let double = try AcceleratorDouble()
        let gpu = try double.find().get().devices[1]
        let memory = try gpu.allocate(lengthBytes: 3_000_000)
        #expect(memory.lengthBytes == 4 << 20)
        #expect(double.census.allocations == 1 && double.census.contexts == 1)
        let bytes = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try bytes.withUnsafeBytes { try memory.copyIn($0, to: 4_000_000) }
        var back = [UInt8](repeating: 0, count: bytes.count)
        try back.withUnsafeMutableBytes { try memory.copyOut(from: 4_000_000, into: $0) }
        #expect(back == bytes)
        try memory.close()
        #expect(double.census.isEmpty)
        // What its owner forgets goes with it.
        _ = try gpu.allocate(lengthBytes: 1)
        #expect(double.census.isEmpty)
    }

    @Test func aDMABufIsTheSameMemory() throws {
        let double = try AcceleratorDouble()
        let memory = try double.find().get().devices[0].allocate(lengthBytes: 2 << 20)
        let exported = try memory.exportDMABuf()
        let text = Array("by the other way in".utf8)
        #expect(text.withUnsafeBytes { pwrite(exported.raw, $0.baseAddress, $0.count, 12_345) } == text.count)
        var back = [UInt8](repeating: 0, count: text.count)
        try back.withUnsafeMutableBytes { try memory.copyOut(from: 12_345, into: $0) }
        #expect(back == text)
        try memory.close()
        // The descriptor keeps the bytes.
        var kept = [UInt8](repeating: 0, count: text.count)
        #expect(kept.withUnsafeMutableBytes { pread(exported.raw, $0.baseAddress, $0.count, 12_345) } == text.count)
        #expect(kept == text)
        try exported.close()
    }

    @Test(arguments: [
        "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemAlloc_v2", "cuPointerSetAttribute",
    ])
    func aFailedAllocationHoldsNothing(_ call: String) throws {
        let double = try AcceleratorDouble()
        let gpu = try double.find().get().devices[0]
        double.failNext(call, result: 2)
        let error = #expect(throws: AcceleratorError.self) { _ = try gpu.allocate(lengthBytes: 1 << 20) }
        #expect(error?.code == .exhausted)
        #expect(error?.sentence.contains("cannot take 2 MiB of GPU 0 (Double 0") == true)
        #expect(double.census.isEmpty)
    }

    @Test func moreThanThereIsIsRefused() throws {
        let double = try AcceleratorDouble()
        let gpu = try double.find().get().devices[0]
        let most = try gpu.allocate(lengthBytes: 255 << 20)
        let full = #expect(throws: AcceleratorError.self) { _ = try gpu.allocate(lengthBytes: 2 << 20) }
        #expect(full?.code == .exhausted)
        let none = #expect(throws: AcceleratorError.self) { _ = try gpu.allocate(lengthBytes: 0) }
        #expect(none?.code == .invalid)
        let absurd = #expect(throws: AcceleratorError.self) { _ = try gpu.allocate(lengthBytes: .max) }
        #expect(absurd?.code == .invalid)
        try most.close()
        #expect(double.census.isEmpty)
    }

    @Test func memoryThatBeginsAtNoPageIsRefused() throws {
        let double = try AcceleratorDouble(settings { $0.addressOffset = 256 })
        let gpu = try double.find().get().devices[0]
        let error = #expect(throws: AcceleratorError.self) { _ = try gpu.allocate(lengthBytes: 1) }
        #expect(error?.code == .unsupported)
        #expect(double.census.isEmpty)
    }

    @Test(arguments: ["cuCtxSetCurrent", "cuMemFree_v2", "cuDevicePrimaryCtxRelease_v2"])
    func aFailedClosingSaysSo(_ call: String) throws {
        let double = try AcceleratorDouble()
        let memory = try double.find().get().devices[0].allocate(lengthBytes: 1)
        double.failNext(call, result: 999)
        var found: AcceleratorError?
        do throws(AcceleratorError) { try memory.close() } catch { found = error }
        #expect(found?.code == .failed)
        #expect(found?.sentence.contains("cannot give back memory of GPU 0") == true)
    }

    @Test func aFailedCopySaysSo() throws {
        let double = try AcceleratorDouble()
        let memory = try double.find().get().devices[0].allocate(lengthBytes: 1)
        var bytes: [UInt8] = [1, 2, 3]
        double.failNext("cuMemcpyDtoH_v2", result: 214)
        var found: AcceleratorError?
        do throws(AcceleratorError) {
            try copy(memory, &bytes)
        } catch { found = error }
        #expect(found?.code == .failed)
        #expect(found?.sentence.contains("ECC") == true)
        try memory.close()
    }

    private func copy(_ memory: borrowing AcceleratorMemory, _ bytes: inout [UInt8]) throws(AcceleratorError) {
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { target.deallocate() }
        try memory.copyOut(from: 0, into: target)
        bytes = Array(target)
    }

    // MARK: Exports that cannot be

    @Test func aGPUThatCannotExportSaysWhatIsMissing() throws {
        func objection(_ change: (inout AcceleratorDouble.Settings) -> Void, root: String) throws -> AcceleratorError? {
            let double = try AcceleratorDouble(settings(change))
            let gpu = try Accelerators.find(library: double.path, system: KernelSupport(root: root)).get().devices[0]
            let memory = try gpu.allocate(lengthBytes: 1)
            defer { #expect(double.census.isEmpty) }
            var found: AcceleratorError?
            do throws(AcceleratorError) { try memory.exportDMABuf().drop() } catch { found = error }
            try memory.close()
            return found
        }
        let config = "# CONFIG_PCI_P2PDMA is not set\nCONFIG_DMA_SHARED_BUFFER=y\nCONFIG_DMABUF_MOVE_NOTIFYX=y\n"
        try withRoot(["proc/sys/kernel/osrelease": "6.1.0-9\n", "boot/config-6.1.0-9": config]) { root in
            let said = try objection({ $0.hasDMABuf = false }, root: root)
            #expect(said?.code == .unsupported)
            #expect(said?.sentence.contains("open kernel modules") == true)
            #expect(said?.sentence.hasSuffix("built without CONFIG_DMABUF_MOVE_NOTIFY, CONFIG_PCI_P2PDMA") == true)
            let tried = try objection({ $0.exportResult = 801 }, root: root)
            #expect(tried?.code == .unsupported)
            #expect(tried?.sentence.contains("CONFIG_PCI_P2PDMA") == true)
            #expect(tried?.cause == "cuMemGetHandleForAddressRange: result 801")
            #expect(try objection({ $0.exportResult = 999 }, root: root)?.code == .failed)
            let old = try objection({ $0.without = ["EXPORT"] }, root: root)
            #expect(old?.code == .tooOld)
            #expect(old?.sentence.contains("CUDA 11.7") == true)
            #expect(try objection({ _ in }, root: root) == nil)
        }
    }

    @Test func aKernelThatSaysNothingIsNotBlamed() throws {
        try withRoot(["proc/sys/kernel/osrelease": "6.1.0-9\n"]) { root in
            #expect(KernelSupport(root: root).missingOptions.isEmpty)
            #expect(KernelSupport(root: root).advice == "")
            #expect(!KernelSupport(root: root).hasGPUModule)
        }
    }

    // MARK: Order of writes

    @Test func aNICsWritesAreFlushedWhereTheGPUDoesNotOrderThem() throws {
        for (ordering, without, flushes) in [(100, [], 0), (200, [], 0), (0, [], 1), (0, ["FLUSH"], nil)]
            as [(Int, [String], Int?)]
        {
            let double = try AcceleratorDouble(
                settings {
                    $0.ordering = ordering
                    $0.without = without
                })
            let memory = try double.find().get().devices[0].allocate(lengthBytes: 1)
            var found: AcceleratorError?
            do throws(AcceleratorError) { try memory.flushRemoteWrites() } catch { found = error }
            #expect(found?.code == (flushes == nil ? .unsupported : nil))
            #expect(double.census.flushes == flushes ?? 0)
            try memory.close()
        }
    }
}

extension FileDescriptor {
    /// Closes it, whatever the kernel says.
    fileprivate consuming func drop() {}
}
