/* What every way of asking for an arm shares: check the arguments, borrow them as a message, fill
 * the decision. */
#include "client/route.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

bool route_name_fits(const char *name)
{
    return !name || (name[0] && strlen(name) < SHUNT_NAME_CAP);
}

/* Names and finite values of a map<string, double>, as its entry types have one layout each. */
const char *route_values_wrong(const struct shunt_value *values, size_t n)
{
    if (n > HANDLE_VALUES_MAX || (n > 0 && !values))
        return "at most 64 named values";
    for (size_t i = 0; i < n; i++)
        if (!values[i].name || !isfinite(values[i].value))
            return "values have a name and are finite";
    return NULL;
}

static bool names_wrong(const char *const *names, size_t n)
{
    bool wrong = n > HANDLE_ARMS_MAX || (n > 0 && !names);
    for (size_t i = 0; i < n && !wrong; i++)
        wrong = !names[i];
    return wrong;
}

static bool vector_wrong(const float *v, size_t n)
{
    bool wrong = n > HANDLE_VECTOR_MAX || (n > 0 && !v);
    for (size_t i = 0; i < n && !wrong; i++)
        wrong = !isfinite(v[i]);
    return wrong;
}

static const char *request_wrong(const struct shunt_client *client, struct shunt_request *r)
{
    if (names_wrong(r->candidates, r->candidates_n) || names_wrong(r->exclude, r->exclude_n))
        return "candidates and exclude are at most 256 names each";
    if (vector_wrong(r->features, r->features_n) || vector_wrong(r->embedding, r->embedding_n))
        return "features and embedding are finite, at most 8192 values each";
    if (!route_name_fits(r->session_id) || !route_name_fits(r->session_metric))
        return "session_id and session_metric are names of 1 to 64 characters";
    if (r->session_metric && !(r->session_budget > 0 && isfinite(r->session_budget)))
        return "session_budget is finite and more than 0";
    if (!route_name_fits(r->default_arm))
        return "default_arm is a name of 1 to 64 characters";
    if (!handle_timeout(&r->timeout_s, client->options.route_timeout_s))
        return "timeout_s is in (0, 3600]; 0 means that of the options";
    if (!route_name_fits(r->stage) || !route_name_fits(r->tenant) || !route_name_fits(r->baseline))
        return "stage, tenant and baseline are names of 1 to 64 characters";
    if (r->modalities >> ROUTE_MODALITIES)
        return "modalities are bits of enum shunt_modality";
    if (route_values_wrong(r->limits, r->limits_n))
        return "limits are at most 64 finite values with a name";
    return route_values_wrong(r->weights, r->weights_n);
}

/* Appended members begin where the struct ended, not in its padding, which callers leave as it is:
 * so a program compiled before says nothing in them. */
static_assert(offsetof(struct shunt_request, tokens_so_far) % _Alignof(struct shunt_request) == 0,
              "the agent's numbers begin past every older struct");

static_assert(offsetof(struct shunt_request, selector) % _Alignof(struct shunt_request) == 0,
              "so do the constraints");
static_assert(offsetof(struct shunt_request, session_id) % _Alignof(struct shunt_request) == 0,
              "so does the session");

static void session_borrow(const struct shunt_request *r, Shunt__V1__SessionBudget *budget,
                           Shunt__V1__RouteRequest *m)
{
    shunt__v1__session_budget__init(budget);
    m->session_id = handle_text(r->session_id);
    m->has_input_tokens = r->input_tokens != 0;
    m->input_tokens = r->input_tokens;
    if (!r->session_metric)
        return;
    budget->metric = handle_text(r->session_metric);
    budget->amount = r->session_budget;
    m->session_budget = budget;
}

static void agent_borrow(const struct shunt_request *r, Shunt__V1__RouteRequest *m)
{
    m->has_turn = r->turn != 0;
    m->turn = r->turn;
    m->has_tool_step = r->tool_step != 0;
    m->tool_step = r->tool_step;
    m->has_tool_errors = r->tool_errors != 0;
    m->tool_errors = r->tool_errors;
    m->has_tokens_so_far = r->tokens_so_far != 0;
    m->tokens_so_far = r->tokens_so_far;
    m->has_images = r->images != 0;
    m->images = r->images;
    m->has_max_output_tokens = r->max_output_tokens != 0;
    m->max_output_tokens = r->max_output_tokens;
    m->has_json_required = m->json_required = r->json_required;
    m->has_tools_required = m->tools_required = r->tools_required;
}

/* A message that borrows the caller's memory. Packing writes nothing, so dropping const is safe. */
static void request_borrow(const struct shunt_client *client, const struct shunt_request *r,
                           Shunt__V1__RouteRequest__WeightsEntry *entries,
                           Shunt__V1__RouteRequest__WeightsEntry **weights,
                           Shunt__V1__RouteRequest *m)
{
    shunt__v1__route_request__init(m);
    m->router = handle_text(r->router ? r->router : client->options.router);
    m->task = handle_text(r->task);
    m->features = (float *)(uintptr_t)r->features;
    m->n_features = r->features_n;
    m->embedding = (float *)(uintptr_t)r->embedding;
    m->n_embedding = r->embedding_n;
    m->candidates = (char **)(uintptr_t)r->candidates;
    m->n_candidates = r->candidates_n;
    m->exclude = (char **)(uintptr_t)r->exclude;
    m->n_exclude = r->exclude_n;
    m->decision_id = handle_text(r->decision_id);
    m->has_dry_run = m->dry_run = r->dry_run;
    m->has_defer_activation = m->defer_activation = r->defer_activation;
    agent_borrow(r, m);
    m->has_max_ranked = 1; /* The struct has no ranking: spare the server the work. */
    m->max_ranked = 0;
    for (size_t i = 0; i < r->weights_n; i++) {
        shunt__v1__route_request__weights_entry__init(&entries[i]);
        entries[i].key = handle_text(r->weights[i].name);
        entries[i].has_value = 1;
        entries[i].value = r->weights[i].value;
        weights[i] = &entries[i];
    }
    m->weights = weights;
    m->n_weights = r->weights_n;
}

static void text_into(char *dst, size_t cap, const char *text)
{
    size_t len = text ? strnlen(text, cap - 1) : 0;
    if (len > 0)
        memcpy(dst, text, len);
    dst[len] = '\0';
}

static void adapter_fill(struct shunt_decision *d, const Shunt__V1__AdapterUse *a)
{
    d->has_residence = true;
    text_into(d->adapter, sizeof d->adapter, a->adapter);
    text_into(d->replica, sizeof d->replica, a->replica);
    d->residence = (enum shunt_residence)a->residence;
    d->expected_load_ms = a->expected_load_ms;
    d->replica_index = a->replica_index;
    d->has_engine_slot = a->has_engine_slot;
    d->engine_slot = a->engine_slot;
}

static void decision_fill(struct shunt_decision *d, const struct handle_routed *routed)
{
    const Shunt__V1__RouteResponse *m = routed->response;
    memset(d, 0, sizeof *d);
    if (!m) {
        text_into(d->arm, sizeof d->arm, routed->fallback_arm);
        d->fallback = true;
        return;
    }
    text_into(d->arm, sizeof d->arm, m->arm_id);
    text_into(d->decision_id, sizeof d->decision_id, m->decision_id);
    d->reason = m->has_reason ? (enum shunt_reason)m->reason : SHUNT_REASON_UNSPECIFIED;
    d->propensity = m->propensity;
    d->position = m->position;
    d->version = m->version;
    d->limits_uncertain = m->has_limits_uncertain && m->limits_uncertain;
    if (m->adapter)
        adapter_fill(d, m->adapter);
    if (m->has_decision_token && m->decision_token.len > 0) {
        d->token_len = m->decision_token.len; /* handle_route has checked that it fits. */
        memcpy(d->token, m->decision_token.data, d->token_len);
    }
}

static void constraints_borrow(const struct shunt_request *r, struct route_message *x)
{
    Shunt__V1__RouteRequest *m = &x->m;
    m->selector = handle_text(r->selector);
    m->stage = handle_text(r->stage);
    m->tenant = handle_text(r->tenant);
    m->baseline_arm_id = handle_text(r->baseline);
    m->modalities = x->modalities;
    for (uint32_t i = 0; i < ROUTE_MODALITIES; i++)
        if (r->modalities >> i & 1)
            x->modalities[m->n_modalities++] = (Shunt__V1__Modality)i;
    for (size_t i = 0; i < r->limits_n; i++) {
        shunt__v1__route_request__limits_entry__init(&x->limit[i]);
        x->limit[i].key = handle_text(r->limits[i].name);
        x->limit[i].has_value = 1;
        x->limit[i].value = r->limits[i].value;
        x->limits[i] = &x->limit[i];
    }
    m->limits = x->limits;
    m->n_limits = r->limits_n;
}

enum shunt_result route_message_init(struct route_message *x, const struct shunt_client *client,
                                     const struct shunt_request *request, struct shunt_error *error)
{
    if (!handle_read(&x->read, sizeof x->read, request))
        return handle_say(error, SHUNT_INVALID,
                          "start the request and the decision with their _INIT");
    struct shunt_request *r = &x->read;
    const char *wrong = request_wrong(client, r);
    if (wrong)
        return handle_say(error, SHUNT_INVALID, "%s", wrong);
    request_borrow(client, r, x->entries, x->weights, &x->m);
    session_borrow(r, &x->budget, &x->m);
    constraints_borrow(r, x);
    if (!r->text || !client->options.send_text)
        return SHUNT_OK;
    size_t len = r->text_len > 0 ? r->text_len : strlen(r->text);
    x->m.text = handle_window(client, r->text, len);
    return x->m.text ? SHUNT_OK : handle_say(error, SHUNT_NO_MEMORY, "out of memory");
}

void route_message_done(struct route_message *x)
{
    free(x->m.text);
}

void route_decision(const struct handle_routed *routed, struct shunt_decision *ret)
{
    struct shunt_decision decision;
    decision_fill(&decision, routed);
    if (routed->response)
        shunt__v1__route_response__free_unpacked(routed->response, NULL);
    handle_write(ret, &decision, sizeof decision);
}
