/* codec_capability.h - the part of what an operator declares that constraints are about: an arm's
 * labels and capabilities, a router's stages; and back.
 * Owns: nothing. Settings are copied; encoded messages live in the arena. Threads: pure. */
#pragma once

#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"
#include "state/model/settings.h"

/* Into a zeroed arm. ERR_BAD_NAME, ERR_OUT_OF_RANGE. */
MUST_USE enum err codec_capability_in(const Shunt__V1__ArmSpec *m, struct arm_config *arm,
                                      struct err_detail *detail);
/* false: arena_error. */
bool codec_capability_out(const struct arm_config *arm, struct arena *arena, Shunt__V1__ArmSpec *m);

/* Adds to or changes what is there; that a selector can be parsed is the engine's to say. */
MUST_USE enum err codec_stages_in(const Shunt__V1__RouterSettings *m, struct stages *stages,
                                  struct err_detail *detail);
bool codec_stages_out(const struct stages *stages, struct arena *arena,
                      Shunt__V1__RouterSettings *m);

/* Bit m: enum modality m. `field` names the list. */
MUST_USE enum err codec_modalities_in(const Shunt__V1__Modality *list, size_t n, const char *field,
                                      uint8_t *ret_mask, struct err_detail *detail);
