/* text_symbols.h - from bytes to the alphabet that word pieces are spelled in.
 * UTF-8, then NFKC as the tokenizer's own package does it, then one symbol a character: 1 stands
 * for a space, 0 for a character that no piece has. Every byte that no valid sequence holds is one
 * such character. Tab, newline and carriage return are spaces: the vocabulary was made from lines.
 * Difference to NFKC: a run of more than 31 combining marks is normalised in parts.
 * Pure, no allocation, linear time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What stands for a byte that is not UTF-8: beyond every code point. */
enum { TEXT_CODE_INVALID = 0x110000 };
enum { TEXT_SYMBOL_NONE = 0, TEXT_SYMBOL_SPACE = 1 };

/* Reads one code point at *p < end and moves past it. Overlong forms, surrogates, values past
 * 0x10ffff and broken sequences yield TEXT_CODE_INVALID for one byte. */
uint32_t text_code_next(const uint8_t **p, const uint8_t *end);
/* Writes at most cap symbols and returns how many; what does not fit is left out. */
size_t text_symbols(const uint8_t *text, size_t len, uint8_t *ret_symbols, size_t cap);
