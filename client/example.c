/* example.c - route a request, act on it, report how it went.
 * Build:  cc example.c $(pkg-config --cflags --libs shunt) -o example
 * Run:    ./example 127.0.0.1:7077 [ROUTER]
 * Exits 0 when the server decided and has the outcome on disk. */
#include <shunt.h>
#include <stdio.h>

/* Stands for the call of a language model: what it cost and how good the answer was. */
static void ask_model(const char *arm, const char *prompt, double *ret_quality, double *ret_usd)
{
    printf("%s answers \"%s\"\n", arm, prompt);
    *ret_quality = 0.9;
    *ret_usd = 0.0004;
}

static int fail(const char *what, const struct shunt_error *error)
{
    fprintf(stderr, "%s: %s %s\n", what, error->code, error->message);
    return 1;
}

int main(int argc, char **argv)
{
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = argc > 1 ? argv[1] : NULL;
    options.router = argc > 2 ? argv[2] : NULL;
    options.default_arm = "small";
    options.send_text = true; /* Without this the prompt stays here. */
    options.route_timeout_s = 2;
    struct shunt_error error;
    struct shunt_client *client = shunt_open(&options, &error);
    if (!client)
        return fail("open", &error);

    const char *prompt = "Sort a linked list in C.";
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.text = prompt;
    request.task = "code";
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    int status = 0;
    if (shunt_route(client, &request, &decision, &error) != SHUNT_OK) {
        status = fail("route", &error);
    } else if (decision.fallback) {
        status = fail("shunt is away, the default arm serves", &error);
    } else {
        double quality, usd;
        ask_model(decision.arm, prompt, &quality, &usd);
        /* `reward` is what the router `default` learns by; yours may weigh other metrics. */
        const struct shunt_value metrics[] = {{"reward", quality}, {"cost_usd", usd}};
        struct shunt_report report = shunt_report_of(&decision);
        report.metrics = metrics;
        report.metrics_n = 2;
        if (shunt_report(client, &report, NULL, &error) != SHUNT_OK)
            status = fail("report", &error);
        else if (shunt_flush(client, 5) != SHUNT_OK) /* In case it was queued. */
            status = fail("flush", &error);
        else
            printf("decision %s: reported\n", decision.decision_id);
    }
    shunt_close(client);
    return status;
}
