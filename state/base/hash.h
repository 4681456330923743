/* hash.h - checksums and hashes of bytes: XXH3 of libxxhash, named once.
 * Not for secrets: nothing here resists an attacker. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t len);
uint64_t hash_seeded(const void *data, size_t len, uint64_t seed);
