/* text_table.h - the word-piece table as it lies in the program.
 * Why: a prompt becomes numbers in microseconds without a model at run time; the model spoke once,
 * when table/build_text16.py ran, and what it said is table/text16.bin.
 * Owns: nothing; constant bytes of the executable, little-endian, as the file has them.
 * Threads: read only. */
#pragma once

#include "server/route/table/text16.h"
#include "state/base/err.h"

#include <stdint.h>

enum { TEXT_D = 16, TEXT_LETTER = 128 };

/* How a code point below 0x20000 is normalised (NFKC). Entry 0 says: as it is, of no piece. */
struct text_entry {
    uint16_t pool_at;    /* Its full decomposition: pool[pool_at .. + expansion_n). */
    uint8_t expansion_n; /* 0: none that matters. */
    uint8_t combining;   /* Canonical combining class. */
    uint8_t symbol;      /* In the pieces' alphabet, from 1; 0: no piece has it. */
    uint8_t second;      /* May compose with what stands before it. */
    uint16_t unused;
};

struct text_pair {
    uint32_t first, second, composed;
};

/* Child of node s by symbol c is t = (link[s] >> 8) + c if (link[t] & 255) == c; 0 is the root. */
struct text_table {
    char magic[8];
    uint32_t version, bytes;
    uint64_t checksum;                   /* FNV-1a of every byte after it. */
    double score[TEXT16_PIECES];         /* Log-probabilities. */
    uint32_t link[TEXT16_NODES];         /* Base and label. */
    uint32_t pool[TEXT16_POOL];          /* Code points of decompositions. */
    struct text_pair pair[TEXT16_PAIRS]; /* Sorted. */
    float scale[TEXT_D];                 /* A row's value is row * scale. */
    struct text_entry entry[TEXT16_ENTRIES];
    uint16_t piece[TEXT16_NODES]; /* The piece that ends at a node; 0: none. */
    uint16_t page[TEXT16_PAGES][128];
    uint8_t page_of[1024];         /* Of code point >> 7. */
    uint8_t length[TEXT16_PIECES]; /* In symbols; with TEXT_LETTER: one letter. */
    int8_t row[TEXT16_PIECES][TEXT_D];
};

extern const struct text_table text_table __attribute__((visibility("hidden")));

/* ERR_CORRUPT when the bytes in the program are not those that text16.h was written with. */
MUST_USE enum err text_table_check(void);
