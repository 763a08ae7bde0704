extension Command {
    static let simulate = Command(
        name: "simulate", summary: "run a whole fleet in virtual time, reproducible from a seed",
        examples: [
            Example(
                "martlet simulate --nodes 100 --size 10GB --rack 32 --uplink 4:1",
                "A hundred peers, all at once: makespan against the bound, origin bytes, messages."),
            Example(
                "martlet simulate --nodes 20 --size 1GB --faults crash=2,partition=1 --seed 7 --trace 3",
                "With faults that seed 7 places, and the story of peer 3."),
        ],
        about: [
            "Runs the machines that peers and scheduler run, over a simulated network; no process, socket or clock is used. "
                + "The same options and seed print the same result, to the byte. Costs in processor time go to stderr.",
            "Workloads: together, flash, late, rolling. Faults, each with how many: crash, seed-loss, scheduler, partition, "
                + "slow, corrupt, silent; and loss, control messages in a million that come late.",
            "Ends with 5 when a checker objects: wrong bytes kept, the origin read twice without cause, slots lost, "
                + "downloads that never end.",
        ],
        options: [
            Option("--nodes", "N", "Peers that want the model; 100."),
            Option("--seeds", "N", "Seed peers that read the origin; 2."),
            Option("--size", "BYTES", "The model's size, such as 100GB; 1GB."),
            Option("--files", "N", "Files of equal size that it is made of; 1."),
            Option("--nic", "RATE", "Each host's interface, such as 100Gbps."),
            Option("--origin", "RATE", "What the origin sends; as much as one interface."),
            Option("--rack", "N", "Hosts in a rack; 32, 0 for one switch."),
            Option("--uplink", "N:1", "How much a rack's interfaces exceed its uplink; 4:1."),
            Option("--seed", "S", "Of all choices; 1."),
            Option("--workload", "NAME", "When peers begin; together."),
            Option("--faults", "LIST", "What goes wrong, such as crash=2,slow=1."),
            Option("--trace", "PEER", "Print the story of this peer, counted from 0."),
            Option("--svg", "FILE", "Draw completion over time into a file."),
            .json,
        ]
    ) { input, context in
        let request = try SimulationRequest(input)
        return try runSimulation(request, context)
    }
}
