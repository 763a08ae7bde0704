extension Command {
    private static let serverNotes = [
        "Runs in the foreground and logs to stderr until Ctrl-C or SIGTERM, then ends in order with exit code 0. "
            + "Metrics and readiness are served where --metrics-listen says.",
        "Servers listen on this machine alone unless told otherwise. They prove themselves with certificates of the cluster's own "
            + "authority, which the manager makes and to which each joins once with a token (martlet token create); or with given "
            + "files (--tls-ca, --tls-cert, --tls-key). Only --insecure does without, on loopback addresses.",
    ]

    static let manager = Command(
        name: "manager", summary: "keep clusters, members and their configuration",
        examples: [
            Example("martlet manager", "On this machine alone: 127.0.0.1:7600."),
            Example(
                "martlet manager --listen 0.0.0.0:7600",
                "For a cluster; then martlet token create, and the token to each server."),
        ],
        about: serverNotes, configuration: .manager, stopsGracefully: true
    ) { _, context in try await runManager(context) }

    static let scheduler = Command(
        name: "scheduler", summary: "decide who reads the origin, and who gets pieces from whom",
        examples: [
            Example(
                "martlet scheduler --manager 127.0.0.1:7600 --token-file join.token",
                "Known to all members by way of the manager."),
            Example(
                "martlet scheduler --listen 0.0.0.0:7610 --advertise 10.0.0.5:7610",
                "Without a manager: peers name it by --schedulers."),
        ],
        about: serverNotes, configuration: .scheduler, stopsGracefully: true
    ) { _, context in try await runScheduler(context) }

    static let seed = Command(
        name: "seed", summary: "read origins for the cluster, and serve what was read",
        examples: [
            Example(
                "martlet seed --manager 10.0.0.5:7600 --data-dir /var/lib/martlet-seed",
                "One or a few in a cluster."),
            Example(
                "HF_TOKEN=hf_... martlet seed --manager 10.0.0.5:7600",
                "For gated repositories: only seeds need the token."),
        ],
        about: serverNotes, configuration: .seed, stopsGracefully: true
    ) { _, context in try await runSeed(context) }

    static let peer = Command(
        name: "peer", summary: "bring models to a node, and pass them on",
        examples: [
            Example(
                "martlet peer --manager 10.0.0.5:7600 --token-file join.token --listen 0.0.0.0:7620 --rack r12",
                "On every node."),
            Example(
                "martlet peer --schedulers 10.0.0.5:7610 --slots-bytes 1GiB",
                "Without a manager; more memory for pieces in flight."),
        ],
        about: serverNotes, configuration: .peer, stopsGracefully: true
    ) { _, context in try await runPeer(context) }

    static let up = Command(
        name: "up", summary: "manager, scheduler and a peer in one process",
        examples: [
            Example("martlet up", "For a laptop or a single node; then: martlet get REF"),
            Example("martlet up --data-dir /data/martlet --log-level debug", "Elsewhere, and talkative."),
        ],
        about: serverNotes, configuration: .up, stopsGracefully: true
    ) { _, context in try await runUp(context) }
}
