import Artifacts
import Configuration
import Engine
import Origins
import Swarm

extension EngineConfiguration {
    /// What the configuration says of downloads and uploads.
    init(_ configuration: Configuration, identity: HostIdentity, isSeed: Bool) {
        var download = DownloadSettings()
        download.readTimeoutNs = configuration[Schema.Swarm.pieceTimeout].clampedNs
        download.wantTimeoutNs = configuration[Schema.Swarm.wantTimeout].clampedNs
        download.linksMax = Int(configuration[Schema.Swarm.parents])
        var upload: UploadSettings = isSeed ? .seed : .peer
        upload.slotsMax = Int(configuration[Schema.Peer.uploadSlots])
        upload.leaseNs = configuration[Schema.Swarm.grantLease].clampedNs
        self.init(
            host: identity.host, isSeed: isSeed, download: download, upload: upload,
            seed: identity.incarnation &* 0x9E37_79B9_7F4A_7C15)
        // Where one transport is demanded, its slow way is no reason to look for another.
        selector.demotesSlow = configuration[Schema.Peer.transport] == .auto
    }
}

extension OriginSettings {
    /// What the configuration says of origins; credentials come from the environment and stay in this process.
    init(_ configuration: Configuration) throws(OriginError) {
        var environment = configuration.environment
        environment["HF_ENDPOINT"] = configuration[Schema.Origin.hfEndpoint]
        if let token = configuration[Schema.Origin.hfToken] { environment["HF_TOKEN"] = token }
        try self.init(environment: environment)
        retry.retriesMax = Int(configuration[Schema.Origin.retries])
        // curl counts whole seconds.
        client.silentSecondsMax = max(1, Int(configuration[Schema.Origin.timeout].clampedNs / 1_000_000_000))
        fileRoots = (configuration[Schema.Origin.fileRoots] ?? "").split(separator: ",").map { root in
            String(root.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        for root in fileRoots where !root.hasPrefix("/") {
            throw OriginError(
                .invalidSetting, "origin.file_roots names ‘\(root)’; write absolute directories, as in ‘/srv/models’")
        }
        if let listed = configuration[Schema.Origin.allowPrivate] { try allowAddresses(listed: listed) }
        client.connectionsPerHostMax = Int(configuration[Schema.Origin.connections])
    }
}
