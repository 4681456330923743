/* capability.h - what an arm can take, as its operator declares it.
 * Why: a prompt that does not fit a model's window, or an image sent to a model of text, costs a
 * failed call and teaches nothing. What is not declared is taken as given: a forgotten field must
 * not take an arm out of service.
 * Owns: plain values. Threads: pure. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

/* What a prompt may hold; the numbers of shunt.v1.Modality. */
enum modality {
    MODALITY_TEXT = 0,
    MODALITY_IMAGE = 1,
    MODALITY_AUDIO = 2,
    MODALITY_VIDEO = 3,
    MODALITY_FILE = 4,
};
enum { MODALITIES = 5 };

enum declared { DECLARED_NOT = 0, DECLARED_NO = 1, DECLARED_YES = 2 };

struct capability {
    uint32_t context_window;    /* Tokens of prompt and answer together; 0: not declared. */
    uint32_t max_output_tokens; /* Most that it can be asked for; 0: not declared. */
    uint8_t modalities;         /* Bit m: takes enum modality m; 0: not declared. */
    uint8_t tools, json;        /* enum declared: calls tools, can be held to JSON. */
};

MUST_USE enum err capability_check(const struct capability *c, struct err_detail *detail);
/* "image", as the wire writes it in small letters; NULL: no such modality. */
const char *modality_name(uint32_t modality);

/* One byte form; a decoder fails with the reader left failed. */
void capability_encode(const struct capability *c, struct buf *out);
void capability_decode(struct reader *r, struct capability *ret);
