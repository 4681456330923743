/* Selectors against the table of Kubernetes' own parser (apimachinery, labels/selector_test.go) and
 * the examples of its documentation ("Labels and Selectors"). */
#include "server/route/selector.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static struct selector s;
static struct err_detail detail;

static struct slice text(const char *t)
{
    return (struct slice){t, strlen(t)};
}

static enum err parse(const char *t)
{
    return selector_parse(text(t), "selector", &s, &detail);
}

/* An arm of labels given as "a=1 b=" and tags as "#c". */
static struct arm_config arm_of(const char *labels)
{
    static struct arm_config arm;
    memset(&arm, 0, sizeof arm);
    while (*labels) {
        size_t n = strcspn(labels, " ");
        const char *equal = memchr(labels, '=', n);
        if (*labels == '#') {
            memcpy(arm.tags[arm.tags_n++], labels + 1, n - 1);
        } else {
            assert_non_null(equal);
            size_t key = (size_t)(equal - labels);
            assert_int_equal(labels_put(&arm.labels, (struct slice){labels, key},
                                        (struct slice){equal + 1, n - key - 1}, NULL),
                             OK);
        }
        labels += n + (labels[n] == ' ');
    }
    return arm;
}

static void expect(const char *selector, const char *labels, bool match)
{
    if (parse(selector) != OK)
        fail_msg("%s: %s", selector, detail.text);
    struct arm_config arm = arm_of(labels);
    if (selector_matches(&s, &arm) != match)
        fail_msg("`%s` %s {%s}", selector, match ? "leaves out" : "takes", labels);
}

static void what_kubernetes_parses_is_parsed(void **unused)
{
    (void)unused;
    static const char *const good[] = {
        "x=a,y=b,z=c", "", "x!=a,y=b", "x=", "x= ", "x=,z= ", "x= ,z= ", "!x", "x>1", "x>1,z<5",
        "\rx", "this-is-a-dns.domain.com/key-with-dash",
        "this-is-another-dns.domain.com/key-with-dash in (so,what)",
        "0.1.2.domain/99 notin (10.10.100.1, tick.tack.clock)", "foo  in\t (abc)",
        "x notin\n (abc)", "x  notin\t\t(abc,def)", "x in (abc,def)", "x in (abc,)", "x in ()",
        "x notin (abc,,def),bar,z in (),w", "x,y in (a)", "x=a", "x<7", "x=a,y!=b",
        "x=a,y!=b,z in (h,i,j)", "x notin ( )", "x notin (, a)", "a ", "a in (x,y,notin, z,in)",
        "in", "notin in (in)", "x==a",
        /* The documentation. */
        "environment = production", "tier != frontend", "environment=production,tier!=frontend",
        "environment in (production, qa)", "tier notin (frontend, backend)", "partition",
        "!partition", "partition,environment notin (qa)",
        "environment in (production),tier in (frontend)",
        "environment,environment notin (frontend)"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (parse(good[i]) != OK)
            fail_msg("%s: %s", good[i], detail.text);
}

static void what_kubernetes_refuses_is_refused_with_its_place(void **unused)
{
    (void)unused;
    static const struct {
        const char *text;
        size_t position;
    } bad[] = {{"x=a||y=b", 3},
               {"x==a==b", 5},
               {"!x=a", 3},
               {"x<a", 3},
               {"x,,y", 3},
               {",x,y", 1},
               {"x nott in (y)", 3},
               {"a in (xyz),", 12},
               {"a in (xyz)b notin ()", 11},
               {"a in (xyz abc)", 11},
               {"a notin(", 9},
               {"a (", 3},
               {"(", 1},
               {"x,", 3},
               {"x in y", 6},
               {"x in (y", 8},
               {"x=(a)", 3},
               {"!", 2},
               {"!!x", 2},
               {"x>", 3},
               {"x>-1", 3},
               {"x>1.5", 3},
               {"x>9223372036854775808", 3},
               {"x!y", 2},
               {"x=a b", 5},
               {"-x", 1},
               {"x=-a", 3},
               {"x in (a,b-)", 9},
               {"a/b/c", 1},
               {"x=a/b", 3},
               {"x in (>)", 7},
               {"x\x01=a", 1},
               {"x=\xff", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[32];
        snprintf(place, sizeof place, "selector, position %zu: ", bad[i].position);
        detail.text[0] = '\0';
        if (parse(bad[i].text) != ERR_BAD_SELECTOR)
            fail_msg("`%s` was parsed", bad[i].text);
        if (strncmp(detail.text, place, strlen(place)) != 0 || !strstr(detail.text, "expected "))
            fail_msg("`%s`: %s", bad[i].text, detail.text);
        for (const char *c = detail.text; *c; c++) /* Nothing that could steer a terminal. */
            assert_true(*c >= 0x20 && *c < 0x7f);
    }
}

static void a_selector_takes_the_arms_that_kubernetes_would_take(void **unused)
{
    (void)unused;
    expect("", "x=y", true);
    expect("x=y", "x=y", true);
    expect("x=y,z=w", "x=y z=w", true);
    expect("x!=y,z!=w", "x=z z=a", true);
    expect("notin=in", "notin=in", true);
    expect("x", "x=z", true);
    expect("!x", "y=z", true);
    expect("x>1", "x=2", true);
    expect("x<1", "x=0", true);
    expect("x=z", "", false);
    expect("x=y", "x=z", false);
    expect("x=y,z=w", "x=w z=w", false);
    expect("x!=y,z!=w", "x=z z=w", false);
    expect("x", "y=z", false);
    expect("!x", "x=z", false);
    expect("x>1", "x=0", false);
    expect("x>1", "x=1", false);
    expect("x>1", "y=2", false);
    expect("x>1", "x=2a", false);
    expect("x<3", "x=", false);
    expect("x=", "x=", true);
    expect("x=", "y=", false);
    expect("x in ()", "x=", true);
    expect("x in (a,,b)", "x=", true);
    expect("x in (a,b)", "x=", false);
    expect("x in (a,b)", "x=b", true);
    expect("x notin (a,b)", "x=b", false);
    expect("x notin (a,b)", "", true); /* As Kubernetes: the key may be absent. */
    expect("x!=a", "", true);
    expect("tier in (small,medium),!beta", "tier=small region=eu", true);
    expect("tier in (small,medium),!beta", "tier=small beta=", false);
    expect("example.org/tier=a", "example.org/tier=a", true);
    expect("tier=a", "example.org/tier=a", false);
    expect("x=ab", "x=a", false);
    expect("x=a", "x=ab", false);
}

static void a_tag_is_a_label_without_a_value_unless_a_label_has_its_name(void **unused)
{
    (void)unused;
    expect("beta", "#beta", true);
    expect("!beta", "#beta", false);
    expect("beta=", "#beta", true);
    expect("beta=x", "#beta", false);
    expect("beta=x", "#beta beta=x", true);
    expect("beta=", "#beta beta=x", false);
}

static void a_selector_of_the_largest_size_is_parsed_and_not_one_larger(void **unused)
{
    (void)unused;
    char t[SELECTOR_BYTES + 2];
    size_t at = 0;
    for (int r = 0; r < SELECTOR_REQUIREMENTS; r++) {
        at += (size_t)snprintf(t + at, sizeof t - at, "%sk in (", r ? "," : "");
        for (int v = 1; v < SELECTOR_VALUES; v++)
            t[at++] = ',';
        t[at++] = ')';
    }
    assert_int_equal(selector_parse((struct slice){t, at}, "selector", &s, &detail), OK);
    assert_int_equal(s.n, SELECTOR_REQUIREMENTS);
    assert_int_equal(s.values_n, SELECTOR_REQUIREMENTS * SELECTOR_VALUES);
    memcpy(t + at, ",k", 2);
    assert_int_equal(selector_parse((struct slice){t, at + 2}, "selector", &s, &detail),
                     ERR_BAD_SELECTOR);
    at = (size_t)snprintf(t, sizeof t, "k in (");
    memset(t + at, ',', SELECTOR_VALUES);
    t[at + SELECTOR_VALUES] = ')';
    assert_int_equal(
        selector_parse((struct slice){t, at + SELECTOR_VALUES + 1}, "selector", &s, &detail),
        ERR_BAD_SELECTOR);
    memset(t, ' ', sizeof t);
    assert_int_equal(selector_parse((struct slice){t, SELECTOR_BYTES}, "stage", &s, &detail), OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(selector_parse((struct slice){t, SELECTOR_BYTES + 1}, "stage", &s, &detail),
                     ERR_TOO_LARGE);
    assert_memory_equal(detail.text, "stage: ", 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_kubernetes_parses_is_parsed),
        cmocka_unit_test(what_kubernetes_refuses_is_refused_with_its_place),
        cmocka_unit_test(a_selector_takes_the_arms_that_kubernetes_would_take),
        cmocka_unit_test(a_tag_is_a_label_without_a_value_unless_a_label_has_its_name),
        cmocka_unit_test(a_selector_of_the_largest_size_is_parsed_and_not_one_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
