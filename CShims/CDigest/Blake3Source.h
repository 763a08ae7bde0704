// Where the BLAKE3 reference sources lie: Debian ships them, C and assembly, inside librust-blake3-dev.
// The package has no library to link, so the wrappers beside this file include the sources they name.
// The package's version is part of the path: for another release of Debian add its directory here.
#pragma once

#if __has_include("/usr/share/cargo/registry/blake3-1.3.1/c/blake3.h")  // Debian 12
#define BLAKE3_SOURCE(file) </usr/share/cargo/registry/blake3-1.3.1/c/file>
#else
#error "BLAKE3's C sources were not found: apt-get install librust-blake3-dev, or name their directory in Blake3Source.h"
#endif
