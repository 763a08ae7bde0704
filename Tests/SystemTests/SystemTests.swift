import MadeTree
import Glibc
import Synchronization
import System
import Testing

@Suite("CPUSet")
struct CPUSetTests {
    @Test(
        "Lists of the kernel, there and back",
        arguments: [("", 0), ("0", 1), ("0-3,8", 5), ("0-63,128-191", 128), ("1,3,5", 3), ("8191", 1)])
    func lists(text: String, count: Int) throws {
        let set = try #require(CPUSet(list: text))
        #expect(set.count == count)
        #expect(set.description == text)
        #expect(set.isEmpty == (count == 0))
        #expect(CPUSet(set.numbers) == set)
    }

    @Test("Malformed lists", arguments: ["a", "1-", "-1", "3-1", "1-2-3", "8192", "0-99999999999999999999"])
    func malformed(text: String) { #expect(CPUSet(list: text) == nil) }

    @Test("Members")
    func members() {
        let set = CPUSet([70, 2])
        #expect(set.contains(2) && set.contains(70) && !set.contains(3) && !set.contains(5000))
        #expect(set.intersection(CPUSet([70, 71])) == CPUSet([70]))
        #expect(set.intersection(CPUSet([1])).isEmpty)
    }

    @Test("The calling thread may run somewhere")
    func calling() throws { #expect(try !CPUSet.ofCallingThread().isEmpty) }
}

@Suite("PinnedThread")
struct PinnedThreadTests {
    @Test("Runs its body under its name and gives the result")
    func result() throws {
        let thread = try PinnedThread(name: "a-name-longer-than-15") {
            var name = [CChar](repeating: 0, count: 16)
            pthread_getname_np(pthread_self(), &name, name.count)
            return name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        }
        #expect(thread.join() == "a-name-longer-t")
        #expect(thread.report == [])
    }

    @Test("Runs on the CPUs given, from the start")
    func pinned() throws {
        let allowed = try CPUSet.ofCallingThread()
        for number in allowed.numbers.prefix(4) {
            let thread = try PinnedThread(name: "pinned", cpus: CPUSet([number])) {
                (try? CPUSet.ofCallingThread(), Int(sched_getcpu()))
            }
            let (mask, running) = thread.join()
            #expect(mask == CPUSet([number]) && running == number)
            #expect(thread.report == [])
        }
    }

    @Test("CPUs that are not there are named, and the thread runs anyway")
    func absentCPUs() throws {
        let thread = try PinnedThread(name: "nowhere", cpus: CPUSet([8191])) { 42 }
        #expect(
            thread.report == [
                "thread nowhere is not pinned: none of the CPUs 8191 is usable by this process"
            ])
        #expect(thread.join() == 42)
    }

    @Test("A second join traps with the thread's name")
    func joinedTwice() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let thread = try PinnedThread(name: "once") {}
            thread.join()
            thread.join()
        }
        expectTrap(result, "thread once was joined twice")
    }

    @Test("Dropping a thread that nobody joined traps with its name")
    func dropped() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            _ = try PinnedThread(name: "lost") {}
        }
        expectTrap(result, "thread lost was dropped without being joined")
    }
}

func expectTrap(_ result: ExitTest.Result?, _ sentence: String) {
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.contains(sentence), "\(text)")
}

@Suite("EventCounter")
struct EventCounterTests {
    @Test("Signals run together, and clearing gives their number")
    func counting() throws {
        let counter = try EventCounter()
        let fresh = (count: counter.clear(), ready: counter.wait(timeoutMs: 0))
        #expect(fresh == (0, false))
        for _ in 0..<3 { counter.signal() }
        let signalled = (ready: counter.wait(timeoutMs: 0), count: counter.clear())
        #expect(signalled == (true, 3))
        let cleared = (count: counter.clear(), ready: counter.wait(timeoutMs: 0))
        #expect(cleared == (0, false))
    }

    @Test("A signal of another thread wakes the one that waits")
    func waking() throws {
        // A class, because the counter has one owner and two threads use it.
        final class Shared: Sendable {
            let counter: EventCounter
            init() throws { counter = try EventCounter() }
        }
        let shared = try Shared()
        let thread = try PinnedThread(name: "waiter") { shared.counter.wait(timeoutMs: 60_000) }
        shared.counter.signal()
        #expect(thread.join())
    }
}

@Suite("Entropy")
struct EntropyTests {
    @Test("Two draws differ, and all of a long buffer is filled")
    func draws() {
        #expect(Entropy.uint64() != Entropy.uint64())
        #expect(Entropy.bytes(32) != Entropy.bytes(32))
        let long = Entropy.bytes(100_000)
        #expect(Set(long.suffix(4096)).count > 200)
        #expect(Entropy.bytes(0) == [])
    }
}

@Suite("Limits and usage")
struct LimitsTests {
    @Test("Raising goes as far as is allowed, and no further")
    func raise() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 64, rlim_max: 128)
            setrlimit(RLIMIT_NOFILE, &limit)
            let values1 = try ResourceLimit.openFiles.values()
            #expect(values1 == .init(soft: 64, hard: 128))
            let values2 = try ResourceLimit.openFiles.raise()
            #expect(values2 == .init(soft: 128, hard: 128))
            let values3 = try ResourceLimit.openFiles.values()
            #expect(values3 == .init(soft: 128, hard: 128))
            let values4 = try ResourceLimit.openFiles.raise()
            #expect(values4 == .init(soft: 128, hard: 128))
            try ResourceLimit.lockedMemory.lower(to: 4096)
            let values5 = try ResourceLimit.lockedMemory.values()
            #expect(values5 == .init(soft: 4096, hard: 4096))
        }
    }

    @Test("Unlimited is nil")
    func unlimited() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 4096, rlim_max: rlim_t.max)
            // Only the privileged may raise the hard limit; then there is nothing to see here but the bound kept.
            if setrlimit(__RLIMIT_MEMLOCK, &limit) == 0 {
                let values6 = try ResourceLimit.lockedMemory.raise()
                #expect(values6 == .init(soft: nil, hard: nil))
            } else {
                let values = try ResourceLimit.lockedMemory.values()
                #expect(values.hard != nil)
            }
        }
    }

    @Test("Memory in use is at least what was just written, and the peak no less")
    func resident() async {
        await #expect(processExitsWith: .success) {
            let before = try #require(ProcessUsage.residentBytes())
            let block = malloc(64 << 20)!
            memset(block, 1, 64 << 20)
            let after = try #require(ProcessUsage.residentBytes())
            // The kernel counts per thread and adds up lazily: these figures are near, not exact.
            #expect(after >= before + 48 << 20)
            free(block)
            let peak = try #require(ProcessUsage.residentBytesPeak())
            #expect(peak >= before + 48 << 20)
        }
    }

    @Test("Processor time grows with work")
    func processorTime() {
        let before = ProcessUsage.processorTimeNs()
        var sum: UInt64 = 0
        for _ in 0..<1_000_000 where ProcessUsage.processorTimeNs().systemNs <= before.systemNs {
            sum ^= Entropy.uint64()
        }
        #expect(ProcessUsage.processorTimeNs().systemNs > before.systemNs)
    }

    @Test("Available memory is the machine's or what the control group leaves, whichever is less")
    func available() throws {
        let tree = try MadeTree()
        try tree.write("meminfo", "MemTotal:       2048 kB\nMemAvailable:       1024 kB\n")
        func available() -> UInt64? {
            MachineMemory.availableBytes(proc: tree.path, controlGroups: "\(tree.path)/groups")
        }
        #expect(available() == 1024 << 10)
        try tree.write("self/cgroup", "4:memory:/other\n0::/martlet.service\n")
        #expect(available() == 1024 << 10)
        try tree.write("groups/martlet.service/memory.max", "max\n")
        try tree.write("groups/martlet.service/memory.current", "100000\n")
        #expect(available() == 1024 << 10)
        try tree.write("groups/martlet.service/memory.max", "600000\n")
        #expect(available() == 500_000)
        try tree.write("groups/martlet.service/memory.max", "90000\n")
        #expect(available() == 0)
        #expect(MachineMemory.availableBytes(proc: "\(tree.path)/none") == nil)
        let real = try #require(MachineMemory.availableBytes())
        #expect(real > 0)
    }
}

@Suite("SignalWatch")
struct SignalWatchTests {
    @Test("Signals reach the callback, in order, on a thread of their own")
    func delivered() async {
        await #expect(processExitsWith: .success) {
            let arrived = try Arrivals()
            let watch = try SignalWatch { signal in
                arrived.record(signal)
            }
            for (number, signal) in [
                (SIGTERM, SignalWatch.Signal.terminate), (SIGINT, .interrupt), (SIGTERM, .terminate),
            ] {
                kill(getpid(), number)
                #expect(arrived.next() == signal)
            }
            // Ignored: it would end the process.
            kill(getpid(), SIGPIPE)
            watch.close()
            watch.close()
            // Another one may follow.
            try SignalWatch { _ in }.close()
        }
    }

    @Test("After closing, the signal does what it does by default")
    func closed() async {
        await #expect(processExitsWith: .signal(SIGTERM)) {
            try SignalWatch { _ in }.close()
            kill(getpid(), SIGTERM)
            sleep(60)
        }
    }

    @Test("Two watches at once trap")
    func two() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let first = try SignalWatch { _ in }
            let second = try SignalWatch { _ in }
            second.close()
            first.close()
        }
        expectTrap(result, "a process has one SignalWatch")
    }
}

/// Signals as they arrive, with a limit to the wait for each.
private final class Arrivals: Sendable {
    private let counter: EventCounter
    private let signals = Mutex<[SignalWatch.Signal]>([])

    init() throws { counter = try EventCounter() }

    func record(_ signal: SignalWatch.Signal) {
        signals.withLock { $0.append(signal) }
        counter.signal()
    }

    func next() -> SignalWatch.Signal? {
        guard counter.wait(timeoutMs: 60_000) else { return nil }
        counter.clear()
        return signals.withLock { $0.removeFirst() }
    }
}
