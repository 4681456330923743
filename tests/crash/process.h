/* process.h - small things that the crash tests do to processes and files.
 * Threads: one test at a time. */
#pragma once

#include <stdint.h>

/* Runs a program (argv[0] is its path, NULL at the end) with its output in a file `run` of `dir`,
 * which is printed when it fails; the exit status, or 128 + the signal. */
int process_run(const char *dir, const char *const *argv);
/* A number of the environment, or `otherwise`. */
uint64_t process_environment(const char *name, uint64_t otherwise);
/* A random number, or that of SHUNT_CRASH_SEED. */
uint64_t process_seed(void);
/* Asserts that it was written. */
void process_write_file(const char *path, const char *text);
