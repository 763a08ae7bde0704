// martlet-fuzz: hands parsers made-up input until one breaks. See ../README.md.
import FuzzTargets
import Glibc

exit(FuzzProgram(CommandLine.arguments).run())
