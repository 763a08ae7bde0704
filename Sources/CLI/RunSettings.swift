import Configuration
import ControlAPI
import Observability
import RPC

/// The body of `martlet settings`.
func runSettings(_ request: SettingsRequest, _ context: CommandContext) async throws -> ExitCode {
    let cluster = context.configuration[Schema.Cluster.name]
    let answer = try await ManagerConnection.use(context) { channel in
        let client = ManagerClient(channel)
        let options = RPCCallOptions.timeout(.seconds(10))
        if request.changes.isEmpty {
            return try await client.listSettings(Wire.ListSettingsRequest(cluster: cluster), options: options)
        }
        let changes = request.changes.map { Wire.NamedSetting(name: $0.name, value: $0.value) }
        return try await client.changeSettings(
            Wire.ChangeSettingsRequest(cluster: cluster, changes: changes), options: options)
    }
    // After a change, what was changed is what one wants to see.
    let names = Set(request.changes.map(\.name))
    let shown = answer.settings.filter { names.isEmpty || names.contains($0.name) }
    if request.json {
        context.console.print(JSONValue.array(shown.map(json)).text(pretty: true))
        return .ok
    }
    var table = TextTable([.left("SETTING"), .left("VALUE"), .left("ALLOWED"), .left("MEANING")])
    for setting in shown {
        table.add([setting.name, setting.value + (setting.isSet ? " (set)" : ""), setting.allowed, setting.meaning])
    }
    for line in table.lines() { context.console.print(line) }
    return .ok
}

private func json(_ setting: Wire.SettingState) -> JSONValue {
    [
        "name": .string(setting.name), "value": .string(setting.value), "built_in": .string(setting.builtIn),
        "allowed": .string(setting.allowed), "meaning": .string(setting.meaning), "is_set": .bool(setting.isSet),
    ]
}
