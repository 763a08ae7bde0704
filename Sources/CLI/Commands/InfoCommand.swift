import Configuration

extension Command {
    static let info = Command(
        name: "info", summary: "show this node's devices, and which transports can be used",
        examples: [
            Example(
                "martlet info", "NICs, RDMA devices, NUMA nodes, GPUs, limits; for each transport, why not."),
            Example("martlet info --json", "The same for programs."),
        ],
        about: [
            "Reads /sys and /proc, and tries on each RDMA port what its device enforces and whose GPU's memory it takes; needs no privileges and no running peer."
        ],
        options: [.json], configuration: .info
    ) { input, context in
        let report = MachineReport.ofThisMachine(context.configuration)
        if input.has("--json") {
            context.console.printJSON(report.json)
        } else {
            for line in report.lines { context.console.print(line) }
        }
        return .ok
    }
}
