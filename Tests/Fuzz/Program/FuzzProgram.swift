import FuzzTargets
import Glibc

/// `martlet-fuzz <target>|all [--runs N] [--seed S] [--corpus DIR] [--keep] [--memory-mib M]`
///
/// Ends with 0 when every input was answered; with a signal when one broke a parser, took longer than 10 seconds of processor time or
/// more memory than allowed: the input then lies in `fuzz-crash`.
struct FuzzProgram {
    private static let secondsMax = 10
    private static let usage =
        "usage: martlet-fuzz <target>|all [--runs N] [--seed S] [--corpus DIR] [--keep] [--memory-mib M]\n       martlet-fuzz <target> --input FILE\n       martlet-fuzz list\n"

    private var name = ""
    private var runs = 100_000
    private var seed: UInt64 = 1
    private var corpusDirectory: String?
    private var keepsFound = false
    private var memoryMiB = 256
    private var inputPath: String?
    private var isUsable = true

    init(_ arguments: [String]) {
        var rest = arguments.dropFirst()[...]
        name = rest.popFirst() ?? ""
        while let flag = rest.popFirst() {
            switch flag {
            case "--keep": keepsFound = true
            case "--runs": runs = number(&rest)
            case "--seed": seed = UInt64(number(&rest))
            case "--memory-mib": memoryMiB = number(&rest)
            case "--corpus": corpusDirectory = rest.popFirst()
            case "--input": inputPath = rest.popFirst()
            default: isUsable = false
            }
        }
    }

    private mutating func number(_ rest: inout ArraySlice<String>) -> Int {
        guard let number = rest.popFirst().flatMap({ Int($0) }), number >= 0 else {
            isUsable = false
            return 0
        }
        return number
    }

    func run() -> CInt {
        if name == "list" {
            for target in FuzzTarget.all { print(target.name) }
            return 0
        }
        let targets = FuzzTarget.all.filter { name == "all" || $0.name == name }
        guard isUsable, !targets.isEmpty else {
            print(FuzzProgram.usage, terminator: "")
            return 2
        }
        CurrentInput.watch()
        limitMemory()
        for target in targets {
            if let inputPath {
                let input = FuzzFiles.read(inputPath)
                CurrentInput.set(input)
                print("\(target.name): outcome \(target.run(input))")
            } else {
                fuzz(target)
            }
        }
        return 0
    }

    private func fuzz(_ target: FuzzTarget) {
        let path = corpusDirectory.map { "\($0)/\(target.name).hex" }
        var run = FuzzRun(target, seed: seed, corpus: path.map { FuzzFiles.corpus($0) } ?? [])
        let startNs = FuzzFiles.nowNs()
        limitTime(FuzzProgram.secondsMax)
        run.runCorpus { CurrentInput.set($0) }
        var left = runs
        while left > 0 {
            // Far longer than a batch takes, unless one input of it takes too long.
            limitTime(FuzzProgram.secondsMax)
            let batch = min(left, 512)
            run.run(batch) { CurrentInput.set($0) }
            left -= batch
        }
        limitTime(0)
        let seconds = Double(FuzzFiles.nowNs() - startNs) / 1e9
        print(
            "\(target.name): \(runs) runs, seed \(seed), \(run.corpus.count) inputs kept, \(Int(Double(runs) / seconds)) a second"
        )
        fflush(nil)
        if keepsFound, let path { FuzzFiles.keep(run.corpus.suffix(run.found), path) }
    }

    /// Of the processor's time, since a busy machine is no fault of an input's; and sixty times as long for one that waits.
    private func limitTime(_ seconds: Int) {
        var limit = itimerval(it_interval: timeval(), it_value: timeval(tv_sec: seconds, tv_usec: 0))
        guard setitimer(ITIMER_PROF, &limit, nil) == 0 else { fatalError("no time limit can be set") }
        alarm(UInt32(60 * seconds))
    }

    /// What is used now, and so much more: a parser that allocates without bound dies of it.
    private func limitMemory() {
        guard memoryMiB > 0 else { return }
        var pages = 0
        if let file = fopen("/proc/self/statm", "re") {
            var line = [CChar](repeating: 0, count: 128)
            if fgets(&line, CInt(line.count), file) != nil { pages = strtol(line, nil, 10) }
            fclose(file)
        }
        guard pages > 0 else { fatalError("cannot read how much memory this process has") }
        let bytes = UInt(pages) * UInt(sysconf(CInt(_SC_PAGESIZE))) + UInt(memoryMiB) << 20
        var limit = rlimit(rlim_cur: rlim_t(bytes), rlim_max: rlim_t(bytes))
        guard setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0 else {
            fatalError("no memory limit can be set")
        }
    }
}
