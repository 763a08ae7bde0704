import ControlAPI
import Glibc
import Observability
import RPC

/// The body of `martlet get`.
func runGet(_ request: GetRequest, _ context: CommandContext) async throws -> ExitCode {
    let directory = try request.directory.map(absolute)
    let connection = try await NodeConnection.toNodeOrOwn(context, isStandalone: request.isStandalone)
    let work = Task { () async throws -> [Wire.GetResult] in
        var results: [Wire.GetResult] = []
        for reference in request.references {
            results.append(try await get(reference, directory, request, connection.node, context))
        }
        return results
    }
    context.stop.onRequest { _ in work.cancel() }
    let outcome = await work.result
    await connection.close()
    switch outcome {
    case .success(let results):
        guard request.json else { return .ok }
        let values = results.map { GetReport.json($0) }
        context.console.print((values.count == 1 ? values[0] : .array(values)).text(pretty: true))
        return .ok
    case .failure(let error):
        if let reason = context.stop.reason { return reason.exitCode }
        throw error
    }
}

/// One model: progress while it comes, a summary at its end.
private func get(
    _ reference: String, _ directory: String?, _ request: GetRequest, _ node: NodeClient, _ context: CommandContext
) async throws -> Wire.GetResult {
    let view = ProgressView(context.console, title: reference, isQuiet: request.isQuiet)
    let call = node.get(
        Wire.GetRequest(
            reference: reference, to: directory, refresh: request.refreshes, pin: request.pins,
            place: request.place.rawValue))
    do {
        while let event = try await call.receive() {
            switch event.kind {
            case .progress(let progress): view.update(ProgressSnapshot(progress))
            case .failure(let failure):
                view.finish(.failed)
                throw CommandFailure(ExitCode(failureCode: failure.code), failure.sentence)
            case .result(let result):
                view.update(ProgressSnapshot(result))
                view.finish(.finished)
                if !request.json { for line in GetReport.lines(result) { context.console.print(line) } }
                return result
            case nil: continue
            }
        }
        throw CommandFailure(.failure, "the peer ended the answer without a result")
    } catch let error as RPCError where !context.stop.isRequested {
        view.finish(.failed)
        guard error.status == .unavailable else { throw CommandFailure(ExitCode(error.status), error.message) }
        throw CommandFailure(
            .unavailable,
            "lost the node's peer (\(error.message)); once it runs again, the same command goes on from what was verified"
        )
    } catch {
        view.finish(context.stop.isRequested ? .stopped : .failed)
        throw error
    }
}

/// The peer runs elsewhere: it needs to hear where from the root.
private func absolute(_ path: String) throws -> String {
    if path.hasPrefix("/") { return path }
    guard let here = getcwd(nil, 0) else {
        throw CommandFailure(.usage, "the current directory is gone; give --to an absolute path")
    }
    defer { free(here) }
    return path == "." ? String(cString: here) : String(cString: here) + "/" + path
}

extension ProgressSnapshot {
    /// What the node says, as the view shows it.
    init(_ progress: Wire.Progress) {
        self.init()
        phase = progress.phase
        totalBytes = progress.totalBytes
        keptBytes = progress.keptBytes
        resumedBytes = progress.resumedBytes
        filesTotal = Int(progress.filesTotal)
        filesPublished = Int(progress.filesPublished)
        parents = Int(progress.parents)
        parentsExcluded = Int(progress.parentsExcluded)
        take(progress.traffic)
    }

    /// The end of it.
    init(_ result: Wire.GetResult) {
        self.init()
        phase = "done"
        totalBytes = result.totalBytes
        keptBytes = result.totalBytes
        resumedBytes = result.resumedBytes
        filesTotal = Int(result.files)
        filesPublished = Int(result.files)
        take(result.traffic)
    }

    private mutating func take(_ traffic: Wire.Traffic?) {
        originBytes = traffic?.originBytes ?? 0
        seedBytes = traffic?.seedBytes ?? 0
        peerBytes = traffic?.peerBytes ?? 0
        wastedBytes = traffic?.wastedBytes ?? 0
        byTransport = (traffic?.byTransport ?? []).map { TransportBytes($0.transport, $0.bytes) }
    }
}
