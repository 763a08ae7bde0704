#include "Blake3Source.h"

#include BLAKE3_SOURCE(blake3.c)
