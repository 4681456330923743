/* codec_adapters.h - what is declared of adapters and of the memory they share. As codec_spec.h. */
#pragma once

#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"
#include "state/model/settings.h"

/* Absent (NULL): what is there stays. Ranges are residency_check's. */
MUST_USE enum err codec_residency_in(const Shunt__V1__Residency *m,
                                     struct router_settings *settings, struct err_detail *detail);
/* NULL: the arena is full. The settings declare residency. */
Shunt__V1__Residency *codec_residency_out(const struct router_settings *settings,
                                          struct arena *arena);
/* Into a zeroed adapter; absent: it stays zero. */
MUST_USE enum err codec_adapter_in(const Shunt__V1__Adapter *m, struct adapter_config *ret,
                                   struct err_detail *detail);
Shunt__V1__Adapter *codec_adapter_out(const struct adapter_config *adapter, struct arena *arena);
