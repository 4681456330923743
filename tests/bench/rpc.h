/* rpc.h - shunt-bench rpc: interleaved rounds against a bare echo of the same message sizes.
 *
 *   shunt-bench rpc [--rounds N] [--seconds S] [--in-flight N[,N...]: 1,16,64,256]
 *                   [--tcp | --unix: only that one] [--arms N] [--features N]
 *                   [--budgets: RouteRequest once more with a pacer, with sessions, with both]
 *                   [--text CHARACTERS: a prompt in each request, scalars and text block on]
 *                   [--classifier FILE: and the task classifier, trained from these examples]
 *                   [--job: RouteRequest once more, while a job evaluates the decision log]
 *                   [--only PHASE[,PHASE...]: route, logged, stream, batch, report, beside, paced]
 *                   [--pace CALLS_A_SECOND: of the last two phases (5000)]
 *                   [--even: echo, too, without abseil's search for lock cycles]
 *                   [--threads N: of shuntd's data plane (1); they share a core without --no-pin]
 *                   [--no-pin] [--json]
 *
 * A round is, for each transport and number in flight: echo (route's sizes), RouteRequest with the
 * decision log off and on, RouteStream, RouteBatch, echo (report's sizes), ReportReward,
 * RouteRequest beside 64 reports in flight, the same of bare echoes, RouteRequest at a pace that
 * leaves room, and the same beside as many reports; each for S seconds. Ratios are taken within a
 * round and their median is printed, because a machine changes from minute to minute; how much
 * echo alone changed is printed with them. Servers run on one core, the client on another, when
 * there are two. With --json the keys at the top are those of the cell that is nearest to what is
 * asked of them: 64 in flight, for reports 256, TCP; `cells` has all. */
#pragma once

/* argv[0] is "rpc". Returns the program's exit code. */
int bench_rpc(int argc, char **argv);
