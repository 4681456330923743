/* text16.h - how many of each text16.bin holds. Written by build_text16.py, with it. */
#pragma once

#include <stdint.h>

enum {
    TEXT16_PIECES = 8000,
    TEXT16_NODES = 18552,
    TEXT16_ENTRIES = 2452,
    TEXT16_PAGES = 152,
    TEXT16_POOL = 5181,
    TEXT16_PAIRS = 941,
    TEXT16_PIECE_MAX = 16,
    TEXT16_EXPANSION_MAX = 18,
    TEXT16_VERSION = 1,
    TEXT16_BYTES = 402968,
};

/* Of every byte after the header (FNV-1a): a name for exactly these vectors. */
#define TEXT16_CHECKSUM UINT64_C(0xc1059bc37ec8440c)
