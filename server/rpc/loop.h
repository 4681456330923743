/* loop.h - the completion queues and their threads, which both servers share.
 * Why shared: in this C core all queues of a process poll one epoll set, and one of their threads
 * is the poller for everybody. With a queue of its own, the idle control plane's thread woke for
 * the data plane's sockets and handed each call over: twice the processor time a call. Order: new,
 * open the servers on it, start; begin and wait for the servers' stop, stop, close the servers,
 * free. Owns: queues, threads, one handler a thread. Threads: all functions from the owner. */
#pragma once

#include "server/rpc/method.h"

enum { RPC_THREADS_MAX = 64 };

struct rpc_loop;

struct rpc_loop_options {
    struct engine *engine;
    struct ready *ready;
    const struct rpc_setting *settings; /* For GetConfig; outlives the loop. */
    size_t settings_n;
    uint32_t threads;   /* [1, RPC_THREADS_MAX] */
    size_t arena_bytes; /* Most that one call on a queue's thread may unpack to. */
};

MUST_USE enum err rpc_loop_new(const struct rpc_loop_options *options, struct rpc_loop **ret_loop);
/* Every server is open; from here on calls are answered. */
MUST_USE enum err rpc_loop_start(struct rpc_loop *l);
/* Every server has stopped: shuts the queues down, drains them, joins. */
void rpc_loop_stop(struct rpc_loop *l);
void rpc_loop_free(struct rpc_loop *l); /* After the servers are closed. Takes NULL. */
