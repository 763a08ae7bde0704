import ControlAPI
import RPC
import Registry
import Scheduling

/// The settings of a cluster that can be changed while it runs: checked here, by the schedulers' own table, and carried
/// out by schedulers.
extension ManagerCalls {
    func listSettings(
        _ request: Wire.ListSettingsRequest, context: RPCServerContext
    ) async throws -> Wire.ListSettingsResponse {
        try listing(request.cluster)
    }

    func changeSettings(
        _ request: Wire.ChangeSettingsRequest, context: RPCServerContext
    ) async throws -> Wire.ListSettingsResponse {
        var changes: [String: String?] = [:]
        var checked = SchedulingSettings()
        for change in request.changes {
            do throws(SchedulingKnob.Refusal) {
                let knob = try SchedulingKnob.named(change.name)
                if !change.value.isEmpty { try knob.set(change.value, in: &checked) }
            } catch {
                throw RPCError(.invalidArgument, error.description)
            }
            changes.updateValue(change.value.isEmpty ? nil : change.value, forKey: change.name)
        }
        try await core.change(request.cluster, changes)
        return try listing(request.cluster)
    }

    private func listing(_ name: String) throws(RPCError) -> Wire.ListSettingsResponse {
        guard let cluster = core.clusters.first(where: { $0.name == name }) else {
            throw RPCError(
                .failedPrecondition, "there is no cluster ‘\(name.prefix(64))’; make it first, or name another")
        }
        var set = cluster.settings.named
        // Two settings had fields of their own before there were names.
        if cluster.settings.neighbourhoodSize > 0, set["neighbourhood_size"] == nil {
            set["neighbourhood_size"] = "\(cluster.settings.neighbourhoodSize)"
        }
        if cluster.settings.leasePieces > 0, set["lease_pieces"] == nil {
            set["lease_pieces"] = "\(cluster.settings.leasePieces)"
        }
        let builtIn = SchedulingSettings()
        return Wire.ListSettingsResponse(
            settings: SchedulingKnob.all.map { knob in
                Wire.SettingState(
                    name: knob.name, value: set[knob.name] ?? knob.value(in: builtIn), builtIn: knob.value(in: builtIn),
                    allowed: knob.allowed, meaning: knob.meaning, isSet: set[knob.name] != nil)
            })
    }
}
