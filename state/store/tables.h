/* tables.h - every table on disk: its number, its key, who trims it.
 * Why: a table's number is part of the checksum of its values, so numbers never change; new tables
 * are added at the end and raise STORE_SCHEMA. All integers in keys are big-endian, so that LMDB's
 * byte order is the order of the numbers. */
#pragma once

/* Raise when a byte form or the list below changes; store_open refuses what it does not know. */
#define STORE_SCHEMA 1

/* Number, name, key -> value; who trims it. */
#define TABLE_LIST(X)                                                                              \
    X(TABLE_META, "meta")             /* "format" -> magic, byte order, schema; never trimmed. */  \
    X(TABLE_JOURNAL, "journal")       /* u64 seq -> record; store_journal_trim. */                 \
    X(TABLE_GENERATION, "generation") /* u64 id -> row; store_generation_drop. */                  \
    X(TABLE_CHUNK, "chunk")           /* u64 id, u32 index -> bytes; with its generation. */       \
    X(TABLE_SETTING, "setting")       /* name -> bytes; never trimmed, STORE_SETTINGS_MAX. */

enum table {
#define X(number, name) number,
    TABLE_LIST(X)
#undef X
        TABLE_N
};
