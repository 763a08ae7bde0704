// The keys of the data plane: peers and seed peers, the origin, the swarm.

extension Schema {
    /// `[peer]`: peers and seed peers alike.
    public enum Peer {
        /// Which transports a host uses.
        public enum TransportChoice: String, Sendable, CaseIterable { case auto, rdma, tcp, local }
        /// By what means RDMA readers are kept to their lease.
        public enum RDMALease: String, Sendable, CaseIterable { case probed, window, region }
        /// The largest packet of an RDMA path, in bytes.
        public enum RDMAMTU: String, Sendable, CaseIterable {
            case auto
            case bytes256 = "256"
            case bytes512 = "512"
            case bytes1024 = "1024"
            case bytes2048 = "2048"
            case bytes4096 = "4096"
        }
        /// Who reads the origin.
        public enum OriginPolicy: String, Sendable, CaseIterable { case seeds, any, never }

        /// Its name in the cluster.
        public static let name = Setting.text(
            "peer.name", .derived("<host name>") { $0.hostName }, for: .peers,
            "The host's name, unique in its cluster.")
        /// The store's directory.
        public static let dataDirectory = Setting.path(
            "peer.data_dir",
            .derived("/var/lib/martlet as root, else ~/.local/share/martlet") { $0.stateDirectory },
            for: .peers,
            "Where pieces and finished models are kept; one process at a time.")
        /// The node's Unix socket.
        public static let socket = Setting.path(
            "peer.socket",
            .derived("/run/martlet/peer.sock as root, else $XDG_RUNTIME_DIR/martlet.sock") { $0.peerSocket },
            for: .node, "The Unix socket on which the node's programs talk to its peer.")
        /// Where pieces are served over TCP.
        public static let listen = Setting.address(
            "peer.listen", "127.0.0.1:7620", for: .peers,
            "Where pieces are served over TCP; the built-in value reaches this machine alone, a cluster needs 0.0.0.0:7620."
        )
        /// Where others find it.
        public static let advertise = Setting<NetworkAddress?>.address(
            "peer.advertise", for: .peers,
            "The address other hosts connect to; none: the one listened on, or for 0.0.0.0 the one the scheduler is reached from."
        )
        /// Where its metrics are.
        public static let metricsListen = Setting<NetworkAddress?>.address(
            "peer.metrics_listen", "127.0.0.1:7621", for: .peers,
            "Where /metrics, /readyz and /livez are served; empty: nowhere.")
        /// Schedulers, when not from the manager.
        public static let schedulers = Setting.addresses(
            "peer.schedulers", for: [.seed, .peer, .get],
            "The schedulers to use; none: those the manager names.")
        /// Which transports.
        public static let transport = Setting<TransportChoice>.choice(
            "peer.transport", "auto", for: .peers,
            "How pieces travel; auto takes the best that both hosts have, a named one is used or refused, never replaced."
        )
        /// Streams of one TCP link.
        public static let streams = Setting.integer(
            "peer.streams", "4", in: 1...16, for: .peers, "TCP connections for piece data to each parent.")
        /// RDMA: which devices.
        public static let rdmaDevices = Setting.rdmaPorts(
            "peer.rdma_devices", "auto", for: .peers,
            "RDMA devices or ports to use, a rail for each; auto: every port that is active.")
        /// RDMA: where control streams are listened for.
        public static let rdmaListen = Setting<NetworkAddress?>.address(
            "peer.rdma_listen", for: .peers,
            "Where RDMA links are agreed on, further rails on the next ports; none: the host of peer.listen and its port + 2 (7622)."
        )
        /// RDMA: which of a port's addresses.
        public static let rdmaGIDIndex = Setting<Int?>.integer(
            "peer.rdma_gid_index", in: 0...1023, for: .peers,
            "Which entry of the ports' address tables to send from; none: RoCE v2 with an IPv4 address if there is one."
        )
        /// RDMA: the service level.
        public static let rdmaServiceLevel = Setting.integer(
            "peer.rdma_service_level", "0", in: 0...15, for: .peers,
            "The service level of RDMA packets; on RoCE the priority of their VLAN.")
        /// RDMA: DSCP and ECN bits.
        public static let rdmaTrafficClass = Setting.integer(
            "peer.rdma_traffic_class", "0", in: 0...255, for: .peers,
            "The traffic class of RDMA packets: on RoCE v2 the IP header's byte, DSCP × 4.")
        /// RDMA: queue pairs of a link.
        public static let rdmaQueuePairs = Setting.integer(
            "peer.rdma_queue_pairs", "2", in: 1...8, for: .peers,
            "RDMA queue pairs that the pieces of one parent are spread over.")
        /// RDMA: how readers are kept to their lease.
        public static let rdmaLease = Setting<RDMALease>.choice(
            "peer.rdma_lease", "probed", for: .peers,
            "How RDMA readers are kept to what they may read: a memory window, an exact region, or the first that the device is found to enforce."
        )
        /// RDMA: the path's MTU.
        public static let rdmaMTU = Setting<RDMAMTU>.choice(
            "peer.rdma_mtu", "auto", for: .peers,
            "The most bytes of an RDMA packet; auto: what both ports can do.")
        /// The arena.
        public static let slotsBytes = Setting.bytes(
            "peer.slots_bytes", "256MiB", in: 32 << 20...1 << 44, for: .peers,
            "Pinned memory that pieces in flight pass through; what a peer holds in RAM is bounded by it.")
        /// The disk budget.
        public static let diskBudget = Setting<UInt64?>.bytes(
            "peer.disk_budget", in: 1 << 20...1 << 60, for: .peers,
            "The most that stored models may take; those used least recently go first. None: the disk less peer.min_free."
        )
        /// Space left to others.
        public static let freeBytesMin = Setting.bytes(
            "peer.min_free", "1GiB", in: 0...1 << 60, for: .peers, "Disk space that is left free for others.")
        /// Uploads at a time.
        public static let uploadSlots = Setting.integer(
            "peer.upload_slots", "8", in: 1...1024, for: .peers,
            "Pieces that other hosts may read from this one at a time.")
        /// Threads for hashing and disk.
        public static let workers = Setting.integer(
            "peer.workers", "0", in: 0...1024, for: .peers,
            "Threads that hash and write pieces; 0: one per core.")
        /// Topology: zone.
        public static let zone = Setting<String?>.text(
            "peer.zone", for: .peers, "The zone the host stands in; parents of the same zone are preferred.")
        /// Topology: rack.
        public static let rack = Setting<String?>.text(
            "peer.rack", for: .peers, "The rack the host stands in; parents of the same rack are preferred.")
        /// Topology: machine.
        public static let machine = Setting<String?>.text(
            "peer.machine", for: .peers,
            "Names the machine: hosts with the same one use the local transport. None: the kernel's boot id.")
        /// Who reads the origin.
        public static let originPolicy = Setting<OriginPolicy>.choice(
            "peer.origin_policy", "seeds", for: .peers,
            "Who reads the origin, always under a lease: seeds (a peer only when no seed is live), any, or never this host."
        )
        static let keys = [
            name.key, dataDirectory.key, socket.key, listen.key, advertise.key, metricsListen.key,
            schedulers.key,
            transport.key, streams.key, rdmaDevices.key, rdmaListen.key, rdmaGIDIndex.key, rdmaServiceLevel.key,
            rdmaTrafficClass.key, rdmaQueuePairs.key, rdmaLease.key, rdmaMTU.key, slotsBytes.key, diskBudget.key,
            freeBytesMin.key, uploadSlots.key,
            workers.key, zone.key, rack.key, machine.key, originPolicy.key,
        ]
    }

    /// `[origin]`
    public enum Origin {
        /// The hub.
        public static let hfEndpoint = Setting.text(
            "origin.hf_endpoint", "https://huggingface.co", for: .peers, aliases: ["HF_ENDPOINT"],
            "The Hugging Face hub, or a mirror that speaks its protocol.")
        /// The hub's token.
        public static let hfToken = Setting<String?>.text(
            "origin.hf_token", for: .peers, secret: true, aliases: ["HF_TOKEN"],
            "The token for gated and private repositories; never logged, never passed to other hosts.")
        /// Silence that ends a request.
        public static let timeout = Setting.duration(
            "origin.timeout", "30s", inMs: 100...3_600_000, for: .peers,
            "How long an origin may send nothing before a request counts as failed.")
        /// Tries.
        public static let retries = Setting.integer(
            "origin.retries", "5", in: 0...100, for: .peers,
            "How often a failed request is tried again, with back-off.")
        /// Connections.
        public static let connections = Setting.integer(
            "origin.connections", "8", in: 1...256, for: .peers, "Requests to origins at a time.")
        /// Where origins may be besides the public Internet.
        public static let allowPrivate = Setting<String?>.text(
            "origin.allow_private", for: .peers,
            "Addresses, ranges and host names, or all, that references and redirects may lead to besides the public Internet and the hub named here."
        )
        /// Where local origins may be.
        public static let fileRoots = Setting<String?>.text(
            "origin.file_roots", for: .peers,
            "Directories that file: references may lead into, separated by commas; none: no file of this host is read for others."
        )
        static let keys = [
            hfEndpoint.key, hfToken.key, timeout.key, retries.key, connections.key, allowPrivate.key, fileRoots.key,
        ]
    }

    /// `[swarm]`
    public enum Swarm {
        /// The longest a piece may take.
        public static let pieceTimeout = Setting.duration(
            "swarm.piece_timeout", "10s", inMs: 100...600_000, for: .peers,
            "How long a parent may take over one piece before it is asked elsewhere.")
        /// The longest an answer may take.
        public static let wantTimeout = Setting.duration(
            "swarm.want_timeout", "5s", inMs: 50...600_000, for: .peers,
            "How long a parent may leave a request for a piece unanswered.")
        /// How long a grant holds.
        public static let grantLease = Setting.duration(
            "swarm.grant_lease", "30s", inMs: 1_000...600_000, for: .peers,
            "How long a child may read a piece it was granted; the upload slot is free again afterwards.")
        /// Parents at a time.
        public static let parents = Setting.integer(
            "swarm.parents", "32", in: 1...256, for: .peers, "How many parents a download uses at a time.")
        static let keys = [pieceTimeout.key, wantTimeout.key, grantLease.key, parents.key]
    }
}
