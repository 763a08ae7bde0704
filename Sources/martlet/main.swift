import CLI
import Glibc

exit(await MartletCommandLine.run(Array(CommandLine.arguments.dropFirst())))
