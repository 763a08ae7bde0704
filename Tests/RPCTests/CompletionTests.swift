import Testing

@testable import RPC

@Suite("Completion and turn", .timeLimit(.minutes(2)))
struct CompletionTests {
    @Test("A value reaches all who wait, before and after it comes; the first counts")
    func value() async {
        let completion = Completion<Int>()
        let waiting = (0..<10).map { _ in Task { await completion.wait() } }
        completion.complete(7)
        completion.complete(8)
        for task in waiting { #expect(await task.value == 7) }
        #expect(await completion.wait() == 7)
    }

    @Test("A cancelled task stops waiting; the value stays for others")
    func cancelled() async {
        let completion = Completion<Int>()
        for _ in 0..<200 {
            let task = Task { await completion.wait() }
            task.cancel()
            #expect(await task.value == nil)
        }
        #expect(await completion.wait(atMost: .milliseconds(1)) == nil)
        completion.complete(1)
        #expect(await completion.wait(atMost: .seconds(40)) == 1)
    }

    @Test("A turn is held by one task at a time, also when those who wait are cancelled")
    func turn() async {
        let turn = Turn()
        // Written by whoever has the turn: a data race if two had it.
        nonisolated(unsafe) var inside = 0
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<300 {
                group.addTask {
                    let task = Task {
                        guard await turn.enter() else { return }
                        inside += 1
                        #expect(inside == 1)
                        await Task.yield()
                        inside -= 1
                        turn.leave()
                    }
                    if index % 3 == 0 { task.cancel() }
                    await task.value
                }
            }
        }
        #expect(await turn.enter())
        turn.leave()
    }
}
