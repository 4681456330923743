/* lab_print.h - what a job found, as tables and sentences for people.
 * Owns: nothing. Threads: one. All: CTL_OK, or it was said that memory ran out. */
#pragma once

#include "client/ctl/ctl.h"
#include "shunt/v1/admin.pb-c.h"

enum ctl_exit lab_print_evaluation(const Shunt__V1__JobInfo *job);
enum ctl_exit lab_print_what_if(const Shunt__V1__JobInfo *job);
enum ctl_exit lab_print_sweep(const Shunt__V1__JobInfo *job);
enum ctl_exit lab_print_jobs(const Shunt__V1__ListJobsResponse *jobs);
/* One job of any kind, with what it found. */
enum ctl_exit lab_print_job(const Shunt__V1__JobInfo *job);
