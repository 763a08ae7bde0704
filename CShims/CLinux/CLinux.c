#include "CLinux.h"

int martlet_dup_cloexec(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 3); }
