#include "server/rpc/codec.h"

#include "server/rpc/codec_budget.h"
#include "server/rpc/codec_capability.h"
#include "server/rpc/message.h"

#include <string.h>

enum { TEXT_FIELD = 2 }; /* RouteRequest.text */

/* Puts name = value, over an earlier one of that name. */
static enum err put_pair(struct engine_weight *pairs, size_t *n, const char *field, const char *key,
                         double value, struct err_detail *detail)
{
    if (!key || !key[0])
        return err_say(detail, ERR_BAD_NAME, "%s: an entry without a name", field);
    struct slice name = slice_text(key);
    for (size_t i = 0; i < *n; i++)
        if (pairs[i].name.len == name.len && memcmp(pairs[i].name.data, key, name.len) == 0) {
            pairs[i].value = value;
            return OK;
        }
    if (*n == MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "%s: more than %d names", field, MAX_METRICS);
    pairs[(*n)++] = (struct engine_weight){name, value};
    return OK;
}

static enum err fill_names(char *const *names, size_t n, const char *field, struct slice *ret_list,
                           struct err_detail *detail)
{
    if (n > MAX_CANDIDATES)
        return err_say(detail, ERR_OUT_OF_RANGE, "%s: %zu names; at most %d", field, n,
                       MAX_CANDIDATES);
    for (size_t i = 0; i < n; i++)
        ret_list[i] = slice_text(names[i]);
    return OK;
}

static struct feature_agent agent_in(const Shunt__V1__RouteRequest *m)
{
    /* protobuf-c leaves 0 where a number is absent, which is what absence means. */
    return (struct feature_agent){
        .turn = m->turn,
        .tool_step = m->tool_step,
        .tool_errors = m->tool_errors,
        .tokens_so_far = m->tokens_so_far,
        .images = m->images,
        .max_output_tokens = m->max_output_tokens,
        .json_required = m->json_required,
        .tools_required = m->tools_required,
    };
}

/* max_cost_usd and its like are limits of metrics with names that many routers have. */
static enum err limits_in(const Shunt__V1__RouteRequest *m, struct engine_weight *limits,
                          size_t *ret_n, struct err_detail *detail)
{
    const struct {
        bool has;
        double value;
        const char *field, *metric;
    } named[] = {{m->has_max_cost_usd, m->max_cost_usd, "max_cost_usd", "cost_usd"},
                 {m->has_max_latency_ms, m->max_latency_ms, "max_latency_ms", "latency_ms"},
                 {m->has_min_quality, m->min_quality, "min_quality", "quality"}};
    *ret_n = 0;
    for (size_t i = 0; i < m->n_limits; i++)
        TRY(put_pair(limits, ret_n, "limits", m->limits[i]->key, m->limits[i]->value, detail));
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        size_t before = *ret_n;
        if (!named[i].has)
            continue;
        TRY(put_pair(limits, ret_n, named[i].field, named[i].metric, named[i].value, detail));
        if (*ret_n == before)
            return err_say(detail, ERR_INVALID, "%s: limits holds %s too; send one of the two",
                           named[i].field, named[i].metric);
    }
    return OK;
}

enum err codec_route_in(const Shunt__V1__RouteRequest *m, struct slice body,
                        struct route_lists *lists, struct route_in *ret_in,
                        struct err_detail *detail)
{
    uint32_t max_ranked = m->has_max_ranked ? m->max_ranked : 1;
    if (max_ranked > MAX_RANKED)
        return err_say(detail, ERR_OUT_OF_RANGE, "max_ranked: %u is not in [0, %d]", max_ranked,
                       MAX_RANKED);
    TRY(fill_names(m->candidates, m->n_candidates, "candidates", lists->candidates, detail));
    TRY(fill_names(m->exclude, m->n_exclude, "exclude", lists->exclude, detail));
    size_t weights_n = 0;
    for (size_t i = 0; i < m->n_weights; i++)
        TRY(put_pair(lists->weights, &weights_n, "weights", m->weights[i]->key,
                     m->weights[i]->value, detail));
    size_t limits_n = 0;
    uint8_t modalities = 0;
    TRY(limits_in(m, lists->limits, &limits_n, detail));
    TRY(codec_modalities_in(m->modalities, m->n_modalities, "modalities", &modalities, detail));
    *ret_in = (struct route_in){
        .router = slice_text(m->router),
        /* From the bytes: a prompt may hold a NUL, where protobuf-c's text would end. */
        .text = m->text ? message_field(body, TEXT_FIELD) : (struct slice){NULL, 0},
        .task = slice_text(m->task),
        .features = m->features,
        .features_n = m->n_features,
        .embedding = m->embedding,
        .embedding_n = m->n_embedding,
        .agent = agent_in(m),
        .weights = lists->weights,
        .weights_n = weights_n,
        .candidates = lists->candidates,
        .candidates_n = m->n_candidates,
        .exclude = lists->exclude,
        .exclude_n = m->n_exclude,
        .baseline = slice_text(m->baseline_arm_id),
        .selector = slice_text(m->selector),
        .stage = slice_text(m->stage),
        .tenant = slice_text(m->tenant),
        .limits = lists->limits,
        .limits_n = limits_n,
        .input_tokens = m->input_tokens,
        .modalities = modalities,
        .session = slice_text(m->session_id),
        .session_metric = slice_text(m->session_budget ? m->session_budget->metric : NULL),
        .session_amount = m->session_budget ? m->session_budget->amount : 0,
        .decision_id = slice_text(m->decision_id),
        .body = body,
        .latency_critical = m->has_latency_critical && m->latency_critical,
        .dry_run = m->has_dry_run && m->dry_run,
        .defer = m->has_defer_activation && m->defer_activation && !(m->has_dry_run && m->dry_run),
        .max_ranked = max_ranked,
        .explain = m->has_explain && m->explain,
    };
    return OK;
}

/* The generated structs want char *; nothing writes through it. */
static char *unconst(const char *s)
{
    union {
        const char *in;
        char *out;
    } u = {.in = s};
    return u.out;
}

/* One metric of the two maps. */
static bool put_term(const struct terms_view *v, uint32_t m, struct arena *arena,
                     Shunt__V1__ScoreTerms *t)
{
    Shunt__V1__ScoreTerms__PredictedEntry *z = arena_alloc(arena, sizeof *z);
    Shunt__V1__ScoreTerms__ContributionsEntry *part = arena_alloc(arena, sizeof *part);
    char *key = arena_text(arena, v->names[m], strlen(v->names[m]));
    if (!z || !part || !key)
        return false;
    shunt__v1__score_terms__predicted_entry__init(z);
    shunt__v1__score_terms__contributions_entry__init(part);
    z->key = part->key = key;
    z->has_value = part->has_value = true;
    z->value = (double)v->terms->predicted[m];
    part->value = (double)v->terms->contribution[m];
    t->predicted[t->n_predicted++] = z;
    t->contributions[t->n_contributions++] = part;
    return true;
}

enum err codec_terms_out(const struct terms_view *v, struct arena *arena,
                         Shunt__V1__ScoreTerms **ret_terms, struct err_detail *detail)
{
    Shunt__V1__ScoreTerms *t = arena_alloc(arena, sizeof *t);
    if (!t)
        return arena_error(arena, detail);
    shunt__v1__score_terms__init(t);
    t->predicted = arena_array(arena, v->metrics_n, sizeof *t->predicted);
    t->contributions = arena_array(arena, v->metrics_n, sizeof *t->contributions);
    if (!t->predicted || !t->contributions)
        return arena_error(arena, detail);
    t->has_mean = t->has_width = t->has_pending = t->has_silence = t->has_charge = true;
    t->has_pacing = true;
    t->mean = v->mean;
    t->width = v->width;
    t->pending = v->pending;
    t->silence = (double)v->terms->silence;
    t->charge = (double)v->terms->charge;
    t->pacing = (double)v->terms->pacing;
    for (uint32_t m = 0; m < v->metrics_n; m++)
        if (v->weighted_mask >> m & 1 && !put_term(v, m, arena, t))
            return arena_error(arena, detail);
    *ret_terms = t;
    return OK;
}

static enum err put_ranked_terms(const struct route_out *out, const struct ranked_arm *arm,
                                 struct arena *arena, Shunt__V1__ScoreTerms **ret_terms,
                                 struct err_detail *detail)
{
    const struct terms_view v = {
        .names = out->metric_names,
        .metrics_n = out->metrics_n,
        .weighted_mask = out->weighted_mask,
        .mean = arm->mean,
        .width = arm->width,
        .pending = arm->pending,
        .terms = &arm->terms,
    };
    return codec_terms_out(&v, arena, ret_terms, detail);
}

static enum err put_ranking(const struct route_out *out, bool explain, struct arena *arena,
                            Shunt__V1__RouteResponse *r, struct err_detail *detail)
{
    Shunt__V1__RankedArm *arms = arena_array(arena, out->ranked_n, sizeof *arms);
    Shunt__V1__RankedArm **list = arena_array(arena, out->ranked_n, sizeof *list);
    if (!arms || !list)
        return arena_error(arena, detail);
    for (uint32_t i = 0; i < out->ranked_n; i++) {
        const struct ranked_arm *from = &out->ranked[i];
        shunt__v1__ranked_arm__init(&arms[i]);
        arms[i].arm_id = unconst(from->name);
        arms[i].has_propensity = arms[i].has_score = true;
        arms[i].propensity = from->propensity;
        arms[i].score = from->mean + from->width;
        if (explain)
            TRY(put_ranked_terms(out, from, arena, &arms[i].terms, detail));
        list[i] = &arms[i];
    }
    r->ranking = list;
    r->n_ranking = out->ranked_n;
    return OK;
}

static enum err put_excluded(const struct route_out *out, struct arena *arena,
                             Shunt__V1__RouteResponse *r, struct err_detail *detail)
{
    uint32_t n = out->excluded_n < MAX_EXCLUDED ? out->excluded_n : MAX_EXCLUDED;
    TRY(codec_excluded(out->excluded, n, arena, &r->excluded, detail));
    r->n_excluded = n;
    return OK;
}

static enum err put_adapter(const struct route_out *out, struct arena *arena,
                            Shunt__V1__AdapterUse **ret, struct err_detail *detail)
{
    const struct shown_adapter *a = &out->adapter;
    Shunt__V1__AdapterUse *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__adapter_use__init(m);
    if (a->is_adapter)
        m->adapter = unconst(out->arm);
    m->has_residence = m->has_expected_load_ms = true;
    m->residence = (Shunt__V1__Residence)a->residence;
    m->expected_load_ms = (double)a->load_ms;
    if (a->replica >= 0) {
        m->replica = unconst(a->url);
        m->has_replica_index = true;
        m->replica_index = (uint32_t)a->replica;
    }
    m->has_engine_slot = a->slot >= 0;
    m->engine_slot = m->has_engine_slot ? (uint32_t)a->slot : 0;
    *ret = m;
    return OK;
}

enum err codec_route_out(const struct route_out *out, bool explain, struct arena *arena,
                         Shunt__V1__RouteResponse **ret_message, struct err_detail *detail)
{
    Shunt__V1__RouteResponse *r = arena_alloc(arena, sizeof *r);
    if (!r)
        return arena_error(arena, detail);
    shunt__v1__route_response__init(r);
    if (out->token_len) {
        r->decision_id = unconst(out->decision_id);
        r->has_decision_token = true;
        r->decision_token.len = out->token_len;
        r->decision_token.data = arena_alloc(arena, out->token_len);
        if (!r->decision_token.data)
            return arena_error(arena, detail);
        memcpy(r->decision_token.data, out->token, out->token_len);
    }
    r->arm_id = unconst(out->arm);
    r->has_propensity = r->has_reason = r->has_position = r->has_version = true;
    r->propensity = out->propensity;
    r->reason = (Shunt__V1__Reason)out->reason;
    r->position = out->position;
    r->version = out->arm_version;
    r->has_limits_uncertain = r->limits_uncertain = out->limits_uncertain;
    r->has_session_reserved = r->has_session_left = out->strict;
    r->session_reserved = out->reserved;
    r->session_left = out->left;
    if (out->adapter.shown)
        TRY(put_adapter(out, arena, &r->adapter, detail));
    if (out->ranked_n)
        TRY(put_ranking(out, explain, arena, r, detail));
    if (out->shows_excluded) {
        r->has_excluded_n = true;
        r->excluded_n = out->excluded_n;
        TRY(codec_budget_use(&out->budget, arena, &r->budget, detail));
        TRY(put_excluded(out, arena, r, detail));
    }
    *ret_message = r;
    return OK;
}

enum err codec_report_in(const Shunt__V1__ReportRewardRequest *m, struct engine_weight *metrics,
                         struct report_in *ret_in, struct err_detail *detail)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_metrics; i++)
        TRY(put_pair(metrics, &n, "metrics", m->metrics[i]->key, m->metrics[i]->value, detail));
    int status = m->has_status ? (int)m->status : (int)OUTCOME_OK;
    if (status < 0 || status >= OUTCOME_STATUS_N)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "status: %d is none of OK, ERROR, REFUSED, TIMEOUT", status);
    *ret_in = (struct report_in){
        .decision_id = slice_text(m->decision_id),
        .token = {m->decision_token.data, m->has_decision_token ? m->decision_token.len : 0},
        .metrics = metrics,
        .metrics_n = n,
        .status = status,
        .served_arm = slice_text(m->served_arm_id),
        .piece_key = slice_text(m->idempotency_key),
        .source = slice_text(m->source),
    };
    return OK;
}

void codec_report_out(const struct report_out *out, struct report_answer *ret_answer)
{
    Shunt__V1__ReportRewardResponse *r = &ret_answer->message;
    shunt__v1__report_reward_response__init(r);
    r->has_duplicate = r->has_unweighted = r->has_orphaned = r->has_position = true;
    r->duplicate = out->duplicate;
    r->unweighted = out->unweighted;
    r->orphaned = out->orphaned;
    r->has_gated = true;
    r->gated = out->gated;
    r->position = out->position;
    for (uint32_t i = 0; i < out->counted_n; i++)
        ret_answer->counted[i] = unconst(out->counted[i]);
    r->counted = ret_answer->counted;
    r->n_counted = out->counted_n;
}
