#include "client/ctl/replay_print.h"

#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    struct replay_data data;
    struct maths_metric metrics[REPLAY_METRIC_N];
    struct maths_baselines baselines;
    struct maths_arm arms[2];
    struct maths_result result;
    double share[2];
    char *names[2];
    struct replay_summary summary;
};

static void fixture_init(struct fixture *f)
{
    static char small[] = "small", large[] = "l\xC3\xA4rge";
    *f = (struct fixture){.share = {0.25, 0.75}, .names = {small, large}};
    f->arms[0] = (struct maths_arm){.utility = 0.4, .rows = 10};
    f->arms[1] = (struct maths_arm){.utility = 0.7, .rows = 10};
    f->data.arms.names = f->names;
    f->data.arms.n = 2;
    f->metrics[REPLAY_QUALITY] = (struct maths_metric){.there = true, .high = 1, .weight = 0.5};
    f->metrics[REPLAY_ENERGY_J] =
        (struct maths_metric){.there = true, .lower = true, .high = 250, .weight = 0.5};
    f->baselines = (struct maths_baselines){.random = 0.55,
                                            .oracle = 0.9,
                                            .best_single = 0.7,
                                            .best_arm = 1,
                                            .best_per_task = 0.75,
                                            .arms = f->arms,
                                            .arms_n = 2,
                                            .rows = 10};
    f->result.utility = (struct maths_spread){.mean = 0.65, .sd = 0.02, .min = 0.61};
    f->result.third = (struct maths_spread){.mean = 0.66, .sd = 0.03, .min = 0.6};
    f->result.regret = (struct maths_spread){.mean = 0.25, .sd = 0.02, .min = 0.2};
    f->result.metric[REPLAY_ENERGY_J] = (struct maths_spread){.mean = 123.456, .sd = 3};
    f->result.metric_there[REPLAY_ENERGY_J] = true;
    f->result.share = f->share;
    f->summary = (struct replay_summary){.data = &f->data,
                                         .metrics = f->metrics,
                                         .baselines = &f->baselines,
                                         .result = &f->result,
                                         .orders = 20,
                                         .seed = 1,
                                         .seconds = 2,
                                         .decisions = 200};
}

static void the_object_for_scripts_has_exactly_the_promised_keys(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_init(&f);
    json_t *json = replay_print_json(&f.summary);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));
    assert_string_equal(
        text, "{\"rows\":10,\"orders\":20,\"seconds\":2.0,"
              "\"utility\":{\"mean\":0.65,\"sd\":0.02,\"worst\":0.61,\"last_third\":0.66},"
              "\"metrics\":{\"energy_j\":{\"mean\":123.456,\"sd\":3.0}},"
              "\"regret\":{\"mean\":0.25,\"sd\":0.02},"
              "\"share\":{\"small\":0.25,\"l\xC3\xA4rge\":0.75},\"random\":0.55,"
              "\"best_single\":{\"arm\":\"l\xC3\xA4rge\",\"utility\":0.7},\"best_per_task\":0.75,"
              "\"oracle\":0.9}");
    free(text);
    json_decref(json);
}

static void the_table_for_people_says_how_utility_is_made(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_init(&f);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_true(replay_print_table(&f.summary, out, false));
    fclose(out);
    assert_non_null(strstr(text, "utility = 0.5 quality + 0.5 (1 - energy_j/250)\n"));
    assert_non_null(strstr(text, "10 rows, 2 arms, 0 task labels; 20 orders, seed 1\n"));
    assert_non_null(strstr(text, "0.6500  0.0200       0.6100\n"));
    assert_non_null(strstr(text, "always l\xC3\xA4rge  (best single)      0.7000  75.0 %\n"));
    assert_non_null(strstr(text, "100 decisions/s"));
    assert_null(strstr(text, "cost_usd"));
    free(text);
}

/* A metric that could not be computed must not become a silent hole in the object. */
static void a_value_that_is_not_a_number_gives_no_object(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_init(&f);
    f.baselines.random = (double)NAN;
    assert_null(replay_print_json(&f.summary));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_object_for_scripts_has_exactly_the_promised_keys),
        cmocka_unit_test(the_table_for_people_says_how_utility_is_made),
        cmocka_unit_test(a_value_that_is_not_a_number_gives_no_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
