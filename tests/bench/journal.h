/* journal.h - shunt-bench journal and shunt-bench recover: what an acknowledgement waits for, and
 * what a start does.
 *
 *   shunt-bench journal [--arms N --d D] [--rounds N] [--quick] [--json]
 *       commits of 1, 16, 128 and 1,024 outcomes through the ledger: encoded, checked, journalled
 *       with one fsync, folded. By the clock, since it is the disk that is waited for; `cpu` is the
 *       thread's part of it.
 *   shunt-bench journal --checkpoints N [--outcomes N] [--arms N --d D] [--rounds N] [--json]
 *       after so many outcomes, how long 16 more wait for their acknowledgement, at most, while N
 *       checkpoints are written: a step of one and the commit. And how long without.
 *   shunt-bench recover [--arms N --d D] [--outcomes N] [--quick] [--json]
 *       opening a directory whose journal holds so many outcomes, without a checkpoint and with one
 * $TMPDIR, or /tmp, says which disk. */
#pragma once

/* argv[0] is the subcommand. Return the program's exit code. */
int bench_journal(int argc, char **argv);
int bench_recover(int argc, char **argv);
