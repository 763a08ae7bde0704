/// The way from a queue pair to the other end's.
public struct PathSettings: Hashable, Sendable {
    /// Our port, from 1.
    public var port: Int
    /// The index of our address in the port's table.
    public var gidIndex: Int
    /// The other end's address; nil: by `remoteLID` alone, inside an InfiniBand subnet.
    public var remoteGID: GID?
    /// The other end's subnet address on InfiniBand; 0 on Ethernet.
    public var remoteLID: UInt16
    /// InfiniBand's service level, or on Ethernet the priority where traffic class does not decide; 0–15.
    public var serviceLevel: UInt8
    /// The IP header's traffic class: DSCP and ECN bits.
    public var trafficClass: UInt8
    /// Routers a packet may cross.
    public var hopLimit: UInt8
    /// 20 bits that spread links over equal paths; 0: the driver's choice.
    public var flowLabel: UInt32
    /// The largest packet: the smaller of both ends' active ones. A READ hangs where the ends disagree.
    public var pathMTU: PathMTU

    /// A way with the usual settings.
    public init(
        port: Int, gidIndex: Int, remoteGID: GID?, remoteLID: UInt16 = 0, serviceLevel: UInt8 = 0,
        trafficClass: UInt8 = 0, hopLimit: UInt8 = 64, flowLabel: UInt32 = 0, pathMTU: PathMTU
    ) {
        self.port = port
        self.gidIndex = gidIndex
        self.remoteGID = remoteGID
        self.remoteLID = remoteLID
        self.serviceLevel = serviceLevel
        self.trafficClass = trafficClass
        self.hopLimit = hopLimit
        self.flowLabel = flowLabel
        self.pathMTU = pathMTU
    }
}
