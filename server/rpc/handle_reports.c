/* ReportRewards: many reports, each with its own answer. ActivateDecision. */
#include "server/rpc/handlers.h"

#include "server/rpc/status.h"
#include "state/base/mem.h"

#include <string.h>

/* What is in flight of one call; too large for a stack and for a worker. */
struct reports {
    struct engine_weight (*metrics)[MAX_METRICS]; /* (n) */
    struct report_in *ins;                        /* (n), of those that could be read, */
    uint32_t *at;                                 /* (n), which report each of them is. */
    uint32_t ins_n;
    struct report_result *results; /* (n), of the inputs. */
    struct report_answer *answers; /* (n), of the inputs; in the arena. */
    Shunt__V1__ReportRewardResult **list;
};

static enum err refused(struct arena *arena, enum err e, const struct err_detail *why,
                        Shunt__V1__ReportRewardResult *r, struct err_detail *detail)
{
    char text[STATUS_MESSAGE_CAP];
    status_message(e, why, text, sizeof text);
    r->has_status = true;
    r->status = (int32_t)status_of(e);
    r->code = arena_text(arena, err_code(e), strlen(err_code(e)));
    r->message = arena_text(arena, text, strlen(text));
    return r->code && r->message ? OK : arena_error(arena, detail);
}

/* What cannot be read is answered here and goes no further. */
static enum err read_all(const Shunt__V1__ReportRewardsRequest *m, struct reports *b,
                         struct arena *arena, struct err_detail *detail)
{
    for (uint32_t i = 0; i < m->n_reports; i++) {
        struct err_detail why = {""};
        enum err e = codec_report_in(m->reports[i], b->metrics[i], &b->ins[b->ins_n], &why);
        if (e == OK)
            b->at[b->ins_n++] = i;
        else
            TRY(refused(arena, e, &why, b->list[i], detail));
    }
    return OK;
}

/* Texts that the answers point to are in the results, which go before the answer is packed. */
static enum err keep_names(struct arena *arena, Shunt__V1__ReportRewardResponse *r,
                           struct err_detail *detail)
{
    for (size_t i = 0; i < r->n_counted; i++) {
        r->counted[i] = arena_text(arena, r->counted[i], strlen(r->counted[i]));
        if (!r->counted[i])
            return arena_error(arena, detail);
    }
    return OK;
}

static enum err answer_all(struct reports *b, struct arena *arena, struct err_detail *detail)
{
    for (uint32_t k = 0; k < b->ins_n; k++) {
        const struct report_result *from = &b->results[k];
        Shunt__V1__ReportRewardResult *to = b->list[b->at[k]];
        if (from->err != OK) {
            TRY(refused(arena, from->err, &from->detail, to, detail));
            continue;
        }
        codec_report_out(&from->out, &b->answers[k]);
        TRY(keep_names(arena, &b->answers[k].message, detail));
        to->response = &b->answers[k].message;
    }
    return OK;
}

static enum err make_list(struct reports *b, size_t n, struct arena *arena,
                          struct err_detail *detail)
{
    Shunt__V1__ReportRewardResult *all = arena_array(arena, n, sizeof *all);
    b->list = arena_array(arena, n, sizeof *b->list);
    b->answers = arena_array(arena, n, sizeof *b->answers);
    if (!all || !b->list || !b->answers)
        return arena_error(arena, detail);
    for (size_t i = 0; i < n; i++) {
        shunt__v1__report_reward_result__init(&all[i]);
        b->list[i] = &all[i];
    }
    return OK;
}

static enum err run(struct handler *h, const Shunt__V1__ReportRewardsRequest *m, struct reports *b,
                    struct err_detail *detail)
{
    TRY(make_list(b, m->n_reports, &h->arena, detail));
    TRY(read_all(m, b, &h->arena, detail));
    if (b->ins_n > 0)
        TRY(engine_reports(h->worker, b->ins, b->ins_n, b->results, detail));
    return answer_all(b, &h->arena, detail);
}

enum err handle_report_rewards(struct handler *h, const ProtobufCMessage *request,
                               ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ReportRewardsRequest *m = (const Shunt__V1__ReportRewardsRequest *)request;
    size_t n = m->n_reports;
    if (n == 0 || n > REPORTS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "reports: %zu of them; a call takes 1 to %d", n,
                       REPORTS_MAX);
    Shunt__V1__ReportRewardsResponse *response = arena_alloc(&h->arena, sizeof *response);
    if (!response)
        return arena_error(&h->arena, detail);
    struct reports b = {
        .metrics = mem_calloc(n, sizeof *b.metrics),
        .ins = mem_calloc(n, sizeof *b.ins),
        .at = mem_calloc(n, sizeof *b.at),
        .results = mem_calloc(n, sizeof *b.results),
    };
    enum err e = b.metrics && b.ins && b.at && b.results
                     ? run(h, m, &b, detail)
                     : err_say(detail, ERR_NOMEM, "no memory for the reports");
    mem_free(b.metrics);
    mem_free(b.ins);
    mem_free(b.at);
    mem_free(b.results);
    if (e != OK)
        return e;
    shunt__v1__report_rewards_response__init(response);
    response->results = b.list;
    response->n_results = n;
    *ret_response = &response->base;
    return OK;
}

enum err handle_activate_decision(struct handler *h, const ProtobufCMessage *request,
                                  ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ActivateDecisionRequest *m =
        (const Shunt__V1__ActivateDecisionRequest *)request;
    const char *id = m->decision_id ? m->decision_id : "";
    const char *session = m->session_id ? m->session_id : "";
    const struct activate_in in = {
        .decision_id = {id, strlen(id)},
        .token = {m->decision_token.data, m->decision_token.len},
        .session = {session, strlen(session)},
    };
    struct activate_out out;
    Shunt__V1__ActivateDecisionResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    TRY(engine_activate(h->worker, &in, &out, detail));
    shunt__v1__activate_decision_response__init(r);
    r->has_already = true;
    r->already = out.already;
    *ret_response = &r->base;
    return OK;
}
