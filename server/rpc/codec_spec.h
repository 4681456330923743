/* codec_spec.h - what an operator declares (RouterSpec, ArmSpec), as the model's settings and back.
 * Why: defaults of absent fields stand in one place, as the .proto's comments promise them;
 * RouterInfo.spec shows everything in force by the same rows read the other way.
 * Owns: nothing. Settings are copied; encoded messages live in the arena.
 * Threads: pure. */
#pragma once

#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"
#include "state/model/settings.h"

/* Everything but the arms; ranges are settings_check's, called at the end. */
MUST_USE enum err codec_spec_in(const Shunt__V1__RouterSpec *m, struct router_config *ret_config,
                                struct err_detail *detail);
/* Changes the fields that are present; m may be NULL. */
MUST_USE enum err codec_settings_in(const Shunt__V1__RouterSettings *m,
                                    struct router_settings *settings, struct err_detail *detail);
/* `config` gives priors their metric's index and unit. */
MUST_USE enum err codec_arm_in(const Shunt__V1__ArmSpec *m, const struct router_config *config,
                               struct arm_config *ret_arm, struct err_detail *detail);

/* Without arms. NULL: arena_error. */
Shunt__V1__RouterSpec *codec_spec_out(const struct router_config *config, struct arena *arena);
Shunt__V1__ArmSpec *codec_arm_out(const struct arm_config *arm, const struct router_config *config,
                                  struct arena *arena);
