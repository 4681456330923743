#!/bin/sh
# The n-th fdatasync, page write and meta write of the store fails, for every n until none is left:
# no acknowledged record is lost, the error is the right one, and after a failed sync the store
# believes no later one.
set -eu
# The leak checker traces the process itself, which strace does already.
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
export ASAN_OPTIONS
writer=$1
batches=12
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

if ! strace -o /dev/null -e inject=getpid:error=EIO:when=1000 true 2>/dev/null; then
    echo "skipped: strace is not here, or may not trace"
    exit 77
fi

say() {
    echo "FAILED: $*"
    cat "$work/out"
    exit 1
}

# run CALL ERROR N: leaves the program's lines in $work/out, its last acknowledgement in $acked.
run() {
    rm -rf "$work/data"
    code=0
    strace -f -o /dev/null -e trace="$1" -e inject="$1:error=$2:when=$3" \
        "$writer" write "$work/data" $batches >"$work/out" 2>"$work/err" || code=$?
    acked=$(sed -n 's/^ack //p' "$work/out" | tail -n 1)
    acked=${acked:-0}
    error=$(sed -n 's/^error //p' "$work/out")
    again=$(sed -n 's/^again //p' "$work/out")
    failed=$(sed -n 's/^failed //p' "$work/out")
}

# Without the fault: is what was acknowledged there?
check() {
    if ! "$writer" check "$work/data" "$acked" >>"$work/out" 2>&1; then
        say "$1 number $2: an acknowledged record is lost"
    fi
}

fired=0
for call in fdatasync pwrite64 writev; do
    for fault in EIO ENOSPC; do
        # The first pwrite64 writes the pid into the lock file, and may find the disk full.
        n=1
        [ $call$fault != pwrite64ENOSPC ] || n=2
        before=$fired
        while :; do
            run $call $fault $n
            [ $code -eq 0 ] && break # The call was made fewer than n times: all were tried.
            fired=$((fired + 1))
            if grep -q '^opened' "$work/out"; then
                [ -n "$error" ] || say "$call number $n: neither an error nor success"
                case $call$fault in
                fdatasyncEIO)
                    [ "$error $again $failed" = "IO IO 1" ] ||
                        say "fdatasync number $n: $error, then $again, failed $failed"
                    ;;
                *EIO) [ "$error" = IO ] || say "$call EIO number $n: $error" ;;
                *) # A page has no room: full. A meta page that cannot be written: broken.
                    case "$error $again" in
                    "DISK_FULL OK" | "DISK_FULL IO" | "IO IO") ;;
                    *) say "$call ENOSPC number $n: $error, then $again" ;;
                    esac
                    ;;
                esac
                [ "$error" != IO ] || [ "$again $failed" = "IO 1" ] ||
                    say "$call $fault number $n: believed a write after a failed one"
                check $call $n
            else
                grep -q '^open ' "$work/out" || say "$call number $n: died without a word"
            fi
            n=$((n + 1))
            [ $n -lt 200 ] || say "$call: does not end"
        done
        [ $fired -gt $before ] || say "$call $fault was never injected"
        echo "$call $fault: $((fired - before)) faults"
    done
done
# Killed instead of refused, at every sync: what was acknowledged is there.
n=1
while :; do
    rm -rf "$work/data"
    code=0
    strace -f -o /dev/null -e trace=fdatasync -e inject=fdatasync:signal=KILL:when=$n \
        "$writer" write "$work/data" $batches >"$work/out" 2>"$work/err" || code=$?
    [ $code -eq 0 ] && break
    acked=$(sed -n 's/^ack //p' "$work/out" | tail -n 1)
    acked=${acked:-0}
    check "SIGKILL at fdatasync" $n
    fired=$((fired + 1))
    n=$((n + 1))
    [ $n -lt 200 ] || say "SIGKILL: does not end"
done
[ $fired -gt 30 ] || say "only $fired faults were injected"
echo "$fired faults injected"
