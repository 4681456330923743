/* handlers.h - the functions of the method table: they move values and decide nothing.
 * Threads: as method.h says. */
#pragma once

#include "server/rpc/method.h"
#include "shunt/v1/admin.pb-c.h"

typedef enum err handler_run(struct handler *h, const ProtobufCMessage *request,
                             ProtobufCMessage **ret_response, struct err_detail *detail);

/* Router. */
/* `bytes`: a RouteRequest. *ret_response NULL: the answer is h->route_out, and
 * plain (codec_plain.h). */
enum err handle_route_request(struct handler *h, struct slice bytes,
                              ProtobufCMessage **ret_response, struct err_detail *detail);
/* The same of a request that is read already. */
enum err handle_route_read(struct handler *h, struct route_in *in, ProtobufCMessage **ret_response,
                           struct err_detail *detail);
enum err handle_report_reward(struct handler *h, const ProtobufCMessage *request,
                              struct report_call *call, struct err_detail *detail);

handler_run handle_report_rewards;
handler_run handle_start_session;
handler_run handle_end_session;

/* Admin. */
handler_run handle_create_router;
handler_run handle_update_router;
handler_run handle_remove_router;
handler_run handle_list_routers;
handler_run handle_get_router;
handler_run handle_get_split;
handler_run handle_get_agreement;
handler_run handle_set_tenant_budget;
handler_run handle_remove_tenant_budget;
handler_run handle_list_budgets;
handler_run handle_add_arm;
handler_run handle_update_arm;
handler_run handle_set_arm_state;
handler_run handle_set_arm_price;
handler_run handle_reload_arm;
handler_run handle_export_arm;
handler_run handle_import_arm;
handler_run handle_list_alarms;
handler_run handle_list_adapters;
handler_run handle_get_plan;
handler_run handle_pin_adapter;
handler_run handle_remove_arm;
handler_run handle_explain;
handler_run handle_stats;
handler_run handle_features;
handler_run handle_train_classifier;
handler_run handle_get_config;
handler_run handle_checkpoint;
handler_run handle_verify;
handler_run handle_backup;
handler_run handle_rotate_keys;
handler_run handle_activate_decision;
handler_run handle_forget_source;
handler_run handle_list_sessions;
handler_run handle_start_job;
handler_run handle_get_job;
handler_run handle_list_jobs;
handler_run handle_cancel_job;
handler_run handle_read_job_output;

/* grpc.health.v1. */
handler_run handle_health_check;

/* The whole state of a router's adapters, for WatchResidency and ListAdapters. */
MUST_USE enum err answer_residency(struct engine_worker *w, const char *router, struct arena *arena,
                                   ProtobufCMessage **ret_response, struct err_detail *detail);
/* Creates a router with its arms, or nothing: also what bootstrap does. */
MUST_USE enum err create_router(struct engine_worker *w, const Shunt__V1__RouterSpec *spec,
                                struct err_detail *detail);
/* Adds one arm by its declaration; `router` as in engine_arm_add. */
MUST_USE enum err create_arm(struct engine_worker *w, struct slice router,
                             const Shunt__V1__ArmSpec *spec, struct err_detail *detail);
/* The arm as it is now: the answer of what changed it. */
MUST_USE enum err answer_arm(struct handler *h, struct slice router, struct slice arm,
                             ProtobufCMessage **ret_response, struct err_detail *detail);
