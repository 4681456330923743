/* report.h - a caller's report as a message, an answer as an outcome: what shunt_report and
 * shunt_report_batch share.
 * Owns: nothing; a report_message borrows from the caller.
 * Threads: pure. */
#pragma once

#include "client/handle.h"

struct report_message {
    struct shunt_report read; /* The caller's, complete. */
    Shunt__V1__ReportRewardRequest m;
    Shunt__V1__ReportRewardRequest__MetricsEntry entries[HANDLE_VALUES_MAX],
        *metrics[HANDLE_VALUES_MAX];
};

/* The struct must not be moved. report may be NULL, which is invalid. */
enum shunt_result report_message_init(struct report_message *x, const struct shunt_client *client,
                                      const struct shunt_report *report, struct shunt_error *error);
/* NULL, or an outcome that was started with its _INIT. */
bool report_outcome_fits(const struct shunt_outcome *outcome);
/* response NULL: it is queued. Frees the response; ret may be NULL. */
void report_outcome(Shunt__V1__ReportRewardResponse *response, struct shunt_outcome *ret);
