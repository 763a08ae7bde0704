import Artifacts
import ControlAPI
import Engine
import Swarm

/// Which scheduler is told what: the host's view of the cluster's schedulers, as a value without clock or stream.
///
/// A model belongs to one of the schedulers that live (`SchedulerChoice`). When the list changes, or one is lost for
/// long, the models that belonged to it move: the old one is told to lease nothing for a while, the new one gets the
/// holdings, the join and the leases that are still read under, and leases nothing for a while either. Parents stay
/// until the new scheduler has had time to hear of everybody.
struct SchedulerRouting: Sendable {
    /// A lease that is ours.
    struct Lease: Sendable, Hashable {
        let model: ModelID
        let task: TaskID
        let pieces: Range<UInt32>
        let whole: Bool
        /// The scheduler that answers for it now.
        var scheduler: String
    }

    /// A download that belongs to another scheduler now.
    struct Move: Sendable, Hashable {
        let model: ModelID
        let from: String?
        let to: String
    }

    private struct Download: Sendable {
        let manifest: Manifest
        let tasks: Set<TaskID>
        var scheduler: String?
        /// What the engine was told last, and what its scheduler said last.
        var told: [Neighbour] = []
        var latest: [Neighbour]?
        /// Until when parents are kept that the scheduler does not name.
        var settledNs: UInt64 = 0
    }

    /// How long a change of the list counts as new: a download that begins meanwhile is said to have moved, since
    /// others of its model may just be moving.
    static let newsNs: UInt64 = 10_000_000_000
    /// How long after a move a scheduler may take to hear of all hosts.
    static let settleNs: UInt64 = 3_000_000_000

    private(set) var listed: [String] = []
    private(set) var lost: Set<String> = []
    private var liveBefore: [String] = []
    private var changedNs: UInt64?
    private var downloads: [ModelID: Download] = [:]
    private var leases: [LeaseID: Lease] = [:]

    /// Those that models are spread over: the listed ones that are not lost, or all when all are lost.
    var live: [String] {
        let found = listed.filter { !lost.contains($0) }
        return found.isEmpty ? listed : found
    }

    /// Whom a model belongs to.
    func owner(of model: ModelID) -> String? { SchedulerChoice.owner(of: model.description, among: live) }
    /// Whom a reference belongs to.
    func owner(ofReference reference: String) -> String? { SchedulerChoice.owner(of: reference, among: live) }
    /// Whom a model belonged to before the last change.
    func ownerBefore(of model: ModelID) -> String? {
        SchedulerChoice.owner(of: model.description, among: liveBefore)
    }
    /// Whom a reference belonged to before the last change.
    func ownerBefore(ofReference reference: String) -> String? {
        SchedulerChoice.owner(of: reference, among: liveBefore)
    }

    /// The schedulers are these now, and those of them cannot be reached; the downloads that move by that.
    mutating func change(listed: [String], lost: Set<String>, nowNs: UInt64) -> [Move] {
        let before = live
        self.listed = listed
        self.lost = lost.intersection(listed)
        guard before != live else { return [] }
        // From nothing to something is a beginning and no change.
        changedNs = before.isEmpty ? nil : nowNs
        liveBefore = before
        var moves: [Move] = []
        for (model, download) in downloads {
            guard let to = owner(of: model), to != download.scheduler else { continue }
            moves.append(Move(model: model, from: download.scheduler, to: to))
            downloads[model]!.scheduler = to
            downloads[model]!.settledNs = nowNs + SchedulerRouting.settleNs
            for (lease, state) in leases where state.model == model { leases[lease]!.scheduler = to }
        }
        return moves.sorted { $0.model.description < $1.model.description }
    }

    /// Whether others may know the model by another scheduler: its owner has just changed, or is not the one it would
    /// belong to if all were there.
    func hasMoved(_ model: ModelID, nowNs: UInt64) -> Bool {
        let now = owner(of: model)
        if now != SchedulerChoice.owner(of: model.description, among: listed) { return true }
        guard let changedNs, nowNs < changedNs + SchedulerRouting.newsNs else { return false }
        return now != ownerBefore(of: model)
    }

    // MARK: Downloads

    /// A download begins; its scheduler.
    mutating func joined(_ model: ModelID, _ manifest: Manifest) -> String? {
        let scheduler = owner(of: model)
        downloads[model] = Download(
            manifest: manifest, tasks: Set(manifest.files.map(\.task)), scheduler: scheduler)
        return scheduler
    }

    /// A download ends; its scheduler.
    mutating func left(_ model: ModelID) -> String? {
        leases = leases.filter { $0.value.model != model }
        return downloads.removeValue(forKey: model)?.scheduler
    }

    /// What a download is of; nil when none of this model runs.
    func manifest(of model: ModelID) -> Manifest? { downloads[model]?.manifest }

    /// Whom news of a task is for; nil: it is part of no download, so that all may want to know.
    func schedulers(of task: TaskID) -> Set<String>? {
        let found = downloads.values.filter { $0.tasks.contains(task) }
        return found.isEmpty ? nil : Set(found.compactMap(\.scheduler))
    }

    // MARK: Leases

    /// A scheduler grants a lease; false: it is not its to grant (its number is that of another scheduler's lease, or
    /// the model has moved away), and has to go back.
    mutating func granted(_ id: LeaseID, _ lease: Lease) -> Bool {
        if let known = leases[id] { return known.scheduler == lease.scheduler && known.model == lease.model }
        if let download = downloads[lease.model], download.scheduler != lease.scheduler { return false }
        // Without a download the engine gives it back, to the one who granted it.
        leases[id] = lease
        return true
    }

    /// A scheduler says that a lease is over; false when that is not its to say.
    mutating func ended(_ id: LeaseID, by scheduler: String) -> Bool {
        guard leases[id]?.scheduler == scheduler else { return false }
        leases[id] = nil
        return true
    }

    /// We return a lease; to whom.
    mutating func returned(_ id: LeaseID) -> String? { leases.removeValue(forKey: id)?.scheduler }

    /// The leases that a scheduler answers for, of one model or of all.
    func leases(of scheduler: String, model: ModelID? = nil) -> [LeaseID: Lease] {
        leases.filter { $0.value.scheduler == scheduler && (model == nil || $0.value.model == model) }
    }

    // MARK: Parents

    /// A scheduler has begun anew, and hears of its hosts for so long.
    mutating func learns(_ scheduler: String, untilNs: UInt64) {
        for (model, download) in downloads where download.scheduler == scheduler {
            downloads[model]!.settledNs = max(download.settledNs, untilNs)
        }
    }

    /// A scheduler names parents; those that the engine is to have, or nil when they are not this scheduler's to name.
    mutating func neighbourhood(
        _ model: ModelID, _ parents: [Neighbour], of scheduler: String, nowNs: UInt64
    ) -> [Neighbour]? {
        guard let download = downloads[model], download.scheduler == scheduler else { return nil }
        var told = parents
        if nowNs < download.settledNs {
            let named = Set(parents.map(\.host))
            told += download.told.filter { !named.contains($0.host) }
            downloads[model]!.latest = parents
        } else {
            downloads[model]!.latest = nil
        }
        downloads[model]!.told = told
        return told
    }

    /// What schedulers said last, of models for which they have heard of everybody by now.
    mutating func settled(nowNs: UInt64) -> [(ModelID, [Neighbour])] {
        var found: [(ModelID, [Neighbour])] = []
        for (model, download) in downloads where nowNs >= download.settledNs {
            guard let latest = download.latest else { continue }
            downloads[model]!.latest = nil
            downloads[model]!.told = latest
            found.append((model, latest))
        }
        return found
    }
}
