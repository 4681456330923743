/* limits.h - every bound on what callers can make grow, in one table. The README prints it. */
#pragma once

enum {
    MAX_ROUTERS = 1000,
    MAX_ARMS = 10000,
    MAX_ARM_NAMES = 100000, /* Names ever used in one router; versions are counted per name. */
    MAX_METRICS = 16,
    MAX_TASKS = 64,
    MAX_TAGS = 16,
    MAX_LABELS = 16,            /* Of an arm. */
    LABELS_BYTES = 1024,        /* Keys and values of an arm's labels, and one byte for each. */
    MAX_STAGES = 16,            /* Of a router. */
    MAX_SOURCES = 16,           /* Of outcomes, with a rule of their own, of a router. */
    MAX_SOURCE_COUNTS = 64,     /* Sources counted by name, of a router; the rest together. */
    MAX_REPORTERS = 3,          /* Sources of one decision that forgetting tells apart. */
    MAX_FORGETS = 1024,         /* FORGET events in the journal that is kept. */
    STAGE_SELECTOR_CAP = 257,   /* 256 bytes and the NUL. */
    SELECTOR_BYTES = 1024,      /* Of a request's label selector. */
    MAX_TENANTS = 10000,        /* With a budget of their own, over all routers. */
    MAX_SESSIONS = 100000,      /* Open at once, over all routers. */
    MAX_RESERVATIONS = 1000000, /* Of strict budgets, over all sessions. */
    MAX_SESSION_RESERVATIONS = 1024, /* Decisions of a strict session without a reported cost. */
    MAX_D = 512,
    MAX_EMBEDDING = 8192,
    MAX_CANDIDATES = 256,
    MAX_RANKED = 256,
    MAX_EXCLUDED = 64, /* Of the arms that could not be chosen, in one answer. */
    MAX_KEYS = 16,
    TRANSFER_BYTES_MAX = 3 << 20, /* Of an arm's statistics; 2.2 MB at d 512 with 16 metrics. */
    MAX_PIECES = 32, /* Reports with rated metrics of one decision, where they are aggregated. */
    PIECE_KEY_BYTES = 128, /* Of an idempotency key. */
    DESCRIPTION_CAP = 257, /* 256 bytes and the NUL. */
    EMBEDDING_D = 32,      /* What an embedding is projected to. */
    SCALARS_N = 9,         /* Text scalars of ctx.v0. */
    SCALARS_V1_N = 12,     /* Scalars of ctx.v1: ten of the text, two of the request. */
    AGENT_N = 8,           /* Numbers of the agent block of ctx.v1. */
    TEXT_BLOCK_N = 16,     /* Numbers of the text block of ctx.v1. */
    SPEC_BLOCKS_MAX = 8,   /* Blocks of a context. */
};
