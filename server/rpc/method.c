#include "server/rpc/method.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "server/route/classify.h"
#include "server/rpc/handlers.h"
#include "state/model/limits.h"

#define ROUTER(m)                                                                                  \
    "/shunt.v1.Router/" m, m,                                                                      \
    {                                                                                              \
        true, false                                                                                \
    }
#define ADMIN(m)                                                                                   \
    "/shunt.v1.Admin/" m, m,                                                                       \
    {                                                                                              \
        false, true                                                                                \
    }
#define BOTH(service, m)                                                                           \
    "/" service "/" m, m,                                                                          \
    {                                                                                              \
        true, true                                                                                 \
    }

enum {
    REPORT_BYTES = 64 * 1024,
    REPORTS_BYTES = 4 * 1024 * 1024, /* A thousand of the largest tokens, and metrics. */
    BATCH_BYTES = 4 * 1024 * 1024,
    STATISTICS_BYTES = TRANSFER_BYTES_MAX + 1024,
    EXAMPLES_BYTES = CLASSIFY_BYTES_MAX + 1024, /* The text and what is around it. */
};

const struct method methods[] = {
    {ROUTER("RouteRequest"), METHOD_ROUTE, false, &shunt__v1__route_request__descriptor, NULL, NULL,
     0},
    {ROUTER("RouteBatch"), METHOD_BATCH, false, &shunt__v1__route_batch_request__descriptor, NULL,
     NULL, BATCH_BYTES},
    {ROUTER("RouteStream"), METHOD_ROUTES, false, &shunt__v1__route_stream_request__descriptor,
     NULL, NULL, 0},
    {ROUTER("ReportReward"), METHOD_DEFERRED, false, &shunt__v1__report_reward_request__descriptor,
     NULL, handle_report_reward, REPORT_BYTES},
    {ROUTER("ActivateDecision"), METHOD_BLOCKING, false,
     &shunt__v1__activate_decision_request__descriptor, handle_activate_decision, NULL,
     REPORT_BYTES},
    {ROUTER("ReportRewards"), METHOD_BLOCKING, false,
     &shunt__v1__report_rewards_request__descriptor, handle_report_rewards, NULL, REPORTS_BYTES},

    {ROUTER("StartSession"), METHOD_BLOCKING, false, &shunt__v1__start_session_request__descriptor,
     handle_start_session, NULL, REPORT_BYTES},
    {ROUTER("EndSession"), METHOD_BLOCKING, false, &shunt__v1__end_session_request__descriptor,
     handle_end_session, NULL, REPORT_BYTES},

    {ADMIN("CreateRouter"), METHOD_BLOCKING, false, &shunt__v1__create_router_request__descriptor,
     handle_create_router, NULL, 0},
    {ADMIN("UpdateRouter"), METHOD_BLOCKING, false, &shunt__v1__update_router_request__descriptor,
     handle_update_router, NULL, 0},
    {ADMIN("RemoveRouter"), METHOD_BLOCKING, false, &shunt__v1__remove_router_request__descriptor,
     handle_remove_router, NULL, 0},
    {ADMIN("ListRouters"), METHOD_BLOCKING, false, &shunt__v1__list_routers_request__descriptor,
     handle_list_routers, NULL, 0},
    {ADMIN("GetRouter"), METHOD_BLOCKING, false, &shunt__v1__get_router_request__descriptor,
     handle_get_router, NULL, 0},
    {ADMIN("GetSplit"), METHOD_BLOCKING, false, &shunt__v1__get_split_request__descriptor,
     handle_get_split, NULL, 0},
    {ADMIN("GetAgreement"), METHOD_BLOCKING, false, &shunt__v1__get_agreement_request__descriptor,
     handle_get_agreement, NULL, 0},
    {ADMIN("SetTenantBudget"), METHOD_BLOCKING, false,
     &shunt__v1__set_tenant_budget_request__descriptor, handle_set_tenant_budget, NULL, 0},
    {ADMIN("RemoveTenantBudget"), METHOD_BLOCKING, false,
     &shunt__v1__remove_tenant_budget_request__descriptor, handle_remove_tenant_budget, NULL, 0},
    {ADMIN("ListBudgets"), METHOD_BLOCKING, false, &shunt__v1__list_budgets_request__descriptor,
     handle_list_budgets, NULL, 0},
    {ADMIN("AddArm"), METHOD_BLOCKING, false, &shunt__v1__add_arm_request__descriptor,
     handle_add_arm, NULL, 0},
    {ADMIN("UpdateArm"), METHOD_BLOCKING, false, &shunt__v1__update_arm_request__descriptor,
     handle_update_arm, NULL, 0},
    {ADMIN("SetArmState"), METHOD_BLOCKING, false, &shunt__v1__set_arm_state_request__descriptor,
     handle_set_arm_state, NULL, 0},
    {ADMIN("SetArmPrice"), METHOD_BLOCKING, false, &shunt__v1__set_arm_price_request__descriptor,
     handle_set_arm_price, NULL, 0},
    {ADMIN("ReloadArm"), METHOD_BLOCKING, false, &shunt__v1__reload_arm_request__descriptor,
     handle_reload_arm, NULL, 0},
    {ADMIN("ExportArm"), METHOD_BLOCKING, false, &shunt__v1__export_arm_request__descriptor,
     handle_export_arm, NULL, 0},
    {ADMIN("ImportArm"), METHOD_BLOCKING, false, &shunt__v1__import_arm_request__descriptor,
     handle_import_arm, NULL, STATISTICS_BYTES},
    {ADMIN("ListAlarms"), METHOD_BLOCKING, false, &shunt__v1__list_alarms_request__descriptor,
     handle_list_alarms, NULL, 0},
    {ADMIN("ListAdapters"), METHOD_BLOCKING, false, &shunt__v1__list_adapters_request__descriptor,
     handle_list_adapters, NULL, 0},
    {ADMIN("GetPlan"), METHOD_BLOCKING, false, &shunt__v1__get_plan_request__descriptor,
     handle_get_plan, NULL, 0},
    {ADMIN("PinAdapter"), METHOD_BLOCKING, false, &shunt__v1__pin_adapter_request__descriptor,
     handle_pin_adapter, NULL, 0},
    {ADMIN("WatchResidency"), METHOD_RESIDENCY, false,
     &shunt__v1__watch_residency_request__descriptor, NULL, NULL, 0},
    {ADMIN("RemoveArm"), METHOD_BLOCKING, false, &shunt__v1__remove_arm_request__descriptor,
     handle_remove_arm, NULL, 0},
    {ADMIN("Explain"), METHOD_BLOCKING, false, &shunt__v1__explain_request__descriptor,
     handle_explain, NULL, 0},
    {ADMIN("Stats"), METHOD_BLOCKING, false, &shunt__v1__stats_request__descriptor, handle_stats,
     NULL, 0},
    {ADMIN("Features"), METHOD_BLOCKING, false, &shunt__v1__features_request__descriptor,
     handle_features, NULL, 0},
    {ADMIN("TrainClassifier"), METHOD_LONG, false, &shunt__v1__train_classifier_request__descriptor,
     handle_train_classifier, NULL, EXAMPLES_BYTES},
    {ADMIN("GetConfig"), METHOD_BLOCKING, false, &shunt__v1__get_config_request__descriptor,
     handle_get_config, NULL, 0},
    {ADMIN("Checkpoint"), METHOD_LONG, false, &shunt__v1__checkpoint_request__descriptor,
     handle_checkpoint, NULL, 0},
    {ADMIN("Verify"), METHOD_LONG, false, &shunt__v1__verify_request__descriptor, handle_verify,
     NULL, 0},
    {ADMIN("Backup"), METHOD_LONG, false, &shunt__v1__backup_request__descriptor, handle_backup,
     NULL, 0},
    {ADMIN("ForgetSource"), METHOD_LONG, false, &shunt__v1__forget_source_request__descriptor,
     handle_forget_source, NULL, 0},
    {ADMIN("RotateKeys"), METHOD_BLOCKING, false, &shunt__v1__rotate_keys_request__descriptor,
     handle_rotate_keys, NULL, 0},

    {ADMIN("ListSessions"), METHOD_BLOCKING, false, &shunt__v1__list_sessions_request__descriptor,
     handle_list_sessions, NULL, 0},
    {ADMIN("StartJob"), METHOD_BLOCKING, false, &shunt__v1__start_job_request__descriptor,
     handle_start_job, NULL, 0},
    {ADMIN("GetJob"), METHOD_BLOCKING, false, &shunt__v1__get_job_request__descriptor,
     handle_get_job, NULL, 0},
    {ADMIN("ListJobs"), METHOD_BLOCKING, false, &shunt__v1__list_jobs_request__descriptor,
     handle_list_jobs, NULL, 0},
    {ADMIN("CancelJob"), METHOD_BLOCKING, false, &shunt__v1__cancel_job_request__descriptor,
     handle_cancel_job, NULL, 0},
    {ADMIN("ReadJobOutput"), METHOD_BLOCKING, false,
     &shunt__v1__read_job_output_request__descriptor, handle_read_job_output, NULL, 0},

    {BOTH("grpc.health.v1.Health", "Check"), METHOD_INLINE, true,
     &grpc__health__v1__health_check_request__descriptor, handle_health_check, NULL, 0},
    {BOTH("grpc.health.v1.Health", "Watch"), METHOD_WATCH, true,
     &grpc__health__v1__health_check_request__descriptor, NULL, NULL, 0},
    {BOTH("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"), METHOD_REFLECT, true,
     &grpc__reflection__v1alpha__server_reflection_request__descriptor, NULL, NULL, 0},
};
const size_t methods_n = sizeof methods / sizeof *methods;
_Static_assert(sizeof methods / sizeof *methods <= METHODS_MAX, "metrics have a slot for each row");

const char *service_name(enum rpc_service service)
{
    static const char *const names[RPC_SERVICES] = {"shunt.v1.Router", "shunt.v1.Admin"};
    return names[service];
}
