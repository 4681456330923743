/* examples.h - rows as the examples file of the classifier. */
#pragma once

#include "state/base/slice.h"
#include "tests/eval/rows.h"

#include <stdbool.h>

/* Appends `label<TAB>text` for the first per_label rows of each label in `order`, escaped as
 * classify.h says, and marks them in ret_used (rows->n). by_family: labels are families, else
 * tasks. */
void examples_put(const struct rows *rows, const uint32_t *order, uint32_t per_label,
                  bool by_family, struct buf *out, bool *ret_used);
