import Simulation

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
            Example(
                "martlet simulate --faults random --runs 1000",
                "A thousand fleets of 3 to 300 peers in which seeds choose what goes wrong; names those that fail."),
            Example(
                "martlet simulate --size 100GB --scale 100,1000,10000 --svg cost.svg",
                "What the scheduler costs as the fleet grows, as a table and a drawing."),
        ],
        about: [
            "Runs the machines that peers and scheduler run, over a simulated network; no process, socket or clock is used. "
                + "The same options and seed print the same result, to the byte. Costs in processor time go to stderr; "
                + "only --scale prints them.",
            "The bound is what nothing can beat: the origin sends each byte once, each interface and each rack's uplink "
                + "carries its share, and a piece doubles its copies in one piece's time.",
            "Workloads: together (all at once), flash (a tenth, then the rest), late (a tenth when the others are done), "
                + "rolling (one after another).",
            "Faults, each with how many: "
                + FaultPlan.words.map { "\($0.name) (\($0.meaning))" }.joined(separator: ", ")
                + ". Or random: fleet and faults are the seed's choice, with at most --nodes peers.",
            "Ends with 5 when a checker objects: wrong bytes kept, the origin read twice without cause, slots lost, "
                + "too much waiting, downloads that never end. Ctrl-C ends the run and prints what happened so far.",
        ],
        options: [
            Option("--nodes", "N", "Peers that want the model; 100."),
            Option("--seeds", "N", "Seed peers that read the origin; 2."),
            Option("--size", "BYTES", "The model's size, such as 100GB; 1GB."),
            Option("--files", "N", "Files of equal size that it is made of; 1."),
            Option("--models", "N", "Models of that size, wanted by the peers in turn; 1."),
            Option("--nic", "RATE", "Each host's interface, such as 25Gbps; 100Gbps."),
            Option("--origin", "RATE", "What the origin sends; as much as one interface."),
            Option("--latency", "US", "Microseconds from host to host; 50."),
            Option("--rack", "N", "Hosts in a rack; 32, 0 for one switch."),
            Option("--uplink", "N:1", "How much a rack's interfaces exceed its uplink; 4:1."),
            Option("--seed", "S", "Of all choices; 1."),
            Option("--workload", "NAME", "When peers begin; together."),
            Option("--faults", "LIST", "What goes wrong, such as crash=2,slow=1; or random."),
            Option("--runs", "N", "Run so many seeds from --seed on, and print those that fail."),
            Option("--scale", "LIST", "Run with each of these numbers of peers, and compare."),
            Option("--limit", "MS", "Give a run up after so many milliseconds of virtual time; 3600000."),
            Option("--trace", "PEER", "Print the story of this peer, counted from 0."),
            Option("--svg", "FILE", "Draw the run, or the cost of --scale, into a file."),
            .json,
        ]
    ) { input, context in
        let request = try SimulationRequest(input)
        return try runSimulation(request, context)
    }
}
