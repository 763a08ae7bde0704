import Glibc

let usage = """
    usage: rdma-hostile source --device NAME [--listen HOST:PORT] [--lease probed|window|region] [--seed N] …
           rdma-hostile reader --device NAME --from ADDRESS[,ADDRESS…] [--rounds N] …
           rdma-hostile attack --device NAME --source HOST:PORT [--other-way HOST:PORT] [--cases A,B…] …

    A source and a well-behaved reader on Martlet's verbs transport, and a hostile one that posts what it likes. All print
    lines of JSON; sources and readers take commands on their standard input.
    """

do {
    let words = CommandLine.arguments.dropFirst()
    let options = try Options(words.dropFirst())
    switch words.first {
    case "source": try SourceProgram(options: options).run()
    case "reader": try ReaderProgram(options).run()
    case "attack": try Attack(options).run()
    default:
        print(usage)
        exit(64)
    }
} catch {
    tell("failed", ("reason", "\(error)"))
    exit(1)
}
