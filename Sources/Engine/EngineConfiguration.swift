import Artifacts
import Swarm
import Transport

/// What an engine is told at its start.
public struct EngineConfiguration: Sendable {
    /// Who we are.
    public var host: HostID
    /// Seeds serve more children and hold leases as a matter of course.
    public var isSeed: Bool
    /// Limits of each download.
    public var download: DownloadSettings
    /// Limits of serving.
    public var upload: UploadSettings
    /// How long a link may take to come up.
    public var connectLimitNs: UInt64 = 3_000_000_000
    /// How long a link nobody reads over is kept for the next download.
    public var idleLinkLimitNs: UInt64 = 60_000_000_000
    /// How long reads on a link that others have replaced may take to end.
    public var drainLimitNs: UInt64 = 30_000_000_000
    /// The share of the arena that may hold pieces ready for serving, in percent.
    public var residentPercentMax = 50
    /// How long an export may wait for memory before the child hears that we are busy.
    public var exportWaitNs: UInt64 = 1_000_000_000
    /// How many may wait at once.
    public var exportsWaitingMax = 64
    /// Which transport is used to which host.
    public var selector = SelectorSettings()
    /// Seeds the machines' random choices.
    public var seed: UInt64

    /// Describes a host's engine.
    public init(
        host: HostID, isSeed: Bool, download: DownloadSettings, upload: UploadSettings, seed: UInt64
    ) {
        self.host = host
        self.isSeed = isSeed
        self.download = download
        self.upload = upload
        self.seed = seed
    }
}
