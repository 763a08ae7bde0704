extension Command {
    static let bench = Command(
        name: "bench", summary: "how fast can weights move between these nodes, and what holds them back",
        examples: [
            Example(
                "martlet bench --local", "Both sides on this machine: is the tool, the memory, the kernel all right?"),
            Example("martlet bench serve --listen 10.0.0.5", "On one node; it ends by itself when nobody comes."),
            Example("martlet bench 10.0.0.5", "On the other node: about ten seconds, no configuration."),
            Example(
                "martlet bench 10.0.0.5 --size 1MiB,16MiB --streams 1,2,4 --json > path.json",
                "A sweep, for a program to read; docs/bench.md describes the fields."),
            Example("martlet bench 10.0.0.5 10.0.0.6", "Many to one: both are read at the same time."),
        ],
        about: [
            "Bytes go from the far side's memory into ours, over the transports that move models, in requests of --size bytes "
                + "of which --depth are under way; --direction reverse or both turns that round. Gb/s are decimal gigabits as on a "
                + "port's label, GiB/s are 2^30 bytes as in a file's size.",
            "Each line says what it cost (processor seconds a GiB on the side that reads and the side that is read), how it "
                + "compares with the lowest limit found (copying memory, plain sockets between the same processes, the port, its slot), "
                + "and then in words what bounds the path and what would help.",
            "Figures are medians of the repetitions; spread is the difference of the fastest and the slowest. Ctrl-C prints what "
                + "was measured. The far side gives at most its --memory-max, serves one measurement at a time, and listens only "
                + "where it is told.",
        ],
        arguments: .any("HOST | serve"),
        options: [
            Option("--local", nil, "Start the far side here, as a process of its own."),
            Option("--transport", "NAME", "tcp, local or rdma, several by commas; the best that both sides have."),
            Option("--size", "BYTES", "Request sizes, such as 64KiB,4MiB; 64KiB,1MiB,4MiB."),
            Option("--depth", "N", "Requests under way on a link; several by commas; 8."),
            Option("--links", "N", "Links to each host; several by commas; 1."),
            Option("--streams", "N", "TCP connections or queue pairs of a link; several by commas; 2."),
            Option("--direction", "WAY", "read, reverse or both; read."),
            Option("--source", "KIND", "Where the bytes come from: file (page cache), memory (registered), auto."),
            Option("--verify", nil, "Check every piece's BLAKE3, as downloads do."),
            Option("--validate", nil, "Compare every byte with what it has to be."),
            Option("--memory", "BYTES", "Distinct memory at each side; 1GiB."),
            Option("--pages", "KIND", "normal or huge; normal."),
            Option("--node", "N", "Take our memory on this NUMA node."),
            Option("--far-node", "N", "Take the far side's memory on this NUMA node."),
            Option("--device", "NAME", "This side's RDMA device."),
            Option("--duration", "TIME", "Of a repetition, such as 600ms or 10s; 600ms."),
            Option("--bytes", "BYTES", "End a repetition after so many bytes instead."),
            Option("--repetitions", "N", "How often each setting is measured; 3."),
            Option("--warm-up", "TIME", "At most; it ends once the rate is steady; 1s."),
            Option("--socket-buffer", "BYTES", "SO_RCVBUF and SO_SNDBUF; the kernel tunes them."),
            Option("--no-limits", nil, "Do not measure limits beside."),
            Option("--csv", nil, "Print comma-separated values."),
            Option("--plot", "FILE.svg", "Draw rate by size into a file."),
            Option("--listen", "HOST[:PORT]", "serve: where, numeric; 127.0.0.1:7790."),
            Option("--memory-max", "BYTES", "serve: the most memory a measurement may take; 8GiB."),
            Option("--idle", "TIME", "serve: end when nobody has come for so long; 600s."),
            Option("--one-session", nil, "serve: end after one measurement."),
            .json,
        ],
        stopsGracefully: true
    ) { input, context in
        if input.arguments.first == "serve" { return try await runBenchServer(input, context) }
        return try await runBench(input, context)
    }
}
