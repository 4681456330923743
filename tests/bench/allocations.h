/* allocations.h - counts what this program asks malloc, calloc and realloc for.
 * Why: "allocates nothing" is a promise of the hot path, so it is counted and not believed. The
 * linker sends our code's calls through here (--wrap); libraries call the C library as ever.
 * Threads: any. */
#pragma once

unsigned long allocations_count(void);
