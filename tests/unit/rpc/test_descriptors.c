#include "server/rpc/descriptor_set.h"
#include "server/rpc/descriptors.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static struct descriptors ours(void)
{
    struct descriptors d;
    assert_int_equal(descriptors_split((struct slice){descriptor_set, descriptor_set_bytes}, &d),
                     OK);
    return d;
}

static void the_embedded_set_splits_into_the_files_of_the_contract(void **state)
{
    (void)state;
    struct descriptors d = ours();
    assert_int_equal(d.n, 5);
    assert_true(descriptors_by_name(&d, text("shunt/v1/router.proto")) >= 0);
    assert_true(descriptors_by_name(&d, text("grpc/health/v1/health.proto")) >= 0);
    assert_int_equal(descriptors_by_name(&d, text("shunt/v1/router")), -1);
    assert_int_equal(descriptors_by_name(&d, text("")), -1);
}

static void a_symbol_is_found_in_the_file_that_declares_it(void **state)
{
    (void)state;
    static const struct {
        const char *symbol, *file;
    } rows[] = {
        {"shunt.v1.Router", "shunt/v1/router.proto"},
        {"shunt.v1.Router.RouteRequest", "shunt/v1/router.proto"},
        {"shunt.v1.RouteRequest", "shunt/v1/router.proto"},
        {"shunt.v1.RouteRequest.WeightsEntry", "shunt/v1/router.proto"},
        {"shunt.v1.RouteRequest.text", "shunt/v1/router.proto"},
        {"shunt.v1.Metric", "shunt/v1/common.proto"},
        {"shunt.v1.Status", "shunt/v1/common.proto"},
        {"shunt.v1.Admin", "shunt/v1/admin.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
    };
    struct descriptors d = ours();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int found = descriptors_by_symbol(&d, text(rows[i].symbol));
        assert_int_equal(found, descriptors_by_name(&d, text(rows[i].file)));
        assert_true(found >= 0);
    }
}

static void what_is_not_declared_is_not_found(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "shunt.v1",
                                       "shunt.v1.",
                                       "shunt.v1.Route",
                                       "shunt.v1.RouterX",
                                       "shunt.v1.Router.NoSuch",
                                       "shunt.v1.RouteRequest.WeightsEntry.x",
                                       "Router",
                                       "."};
    struct descriptors d = ours();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(descriptors_by_symbol(&d, text(rows[i])), -1);
}

static void a_file_comes_with_its_imports_each_once(void **state)
{
    (void)state;
    struct descriptors d = ours();
    int files[DESCRIPTOR_FILES_MAX];
    int router = descriptors_by_name(&d, text("shunt/v1/router.proto"));
    assert_int_equal(descriptors_closure(&d, router, files), 2);
    assert_int_equal(files[0], router);
    assert_int_equal(files[1], descriptors_by_name(&d, text("shunt/v1/common.proto")));
}

static void a_set_cut_short_is_refused(void **state)
{
    (void)state;
    struct descriptors d;
    int refused = 0;
    for (size_t len = 1; len < descriptor_set_bytes; len += 7)
        refused += descriptors_split((struct slice){descriptor_set, len}, &d) == ERR_PARSE;
    /* Only a cut between two files can pass. */
    assert_true(refused >= (int)(descriptor_set_bytes / 7) - 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_embedded_set_splits_into_the_files_of_the_contract),
        cmocka_unit_test(a_symbol_is_found_in_the_file_that_declares_it),
        cmocka_unit_test(what_is_not_declared_is_not_found),
        cmocka_unit_test(a_file_comes_with_its_imports_each_once),
        cmocka_unit_test(a_set_cut_short_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
