#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# KILL or STOP any rank while clients stream: within 10 s every client has an error status, mpirun
# has exited with a code other than 0, and no rank is left.
. "$(dirname "$0")/server.bash"

# A process that nobody has reaped yet is dead too.
alive() { [ -e "/proc/$1/stat" ] && ! grep -q ') Z' "/proc/$1/stat" 2>/dev/null; }

# strike SIGNAL RANK RANKS
strike() {
  local signal=$1 rank=$2 ranks=$3 clients=() pids start took
  start_server "$ranks" || return
  # mpirun starts its ranks in order.
  mapfile -t pids < <(rank_pids)
  for i in 1 2 3 4; do
    generate --prompt "Client $i tells a long story:" --max-tokens 2000 --ignore-eos \
      >"$work/out.$i" 2>"$work/err.$i" &
    clients+=($!)
  done
  for i in 1 2 3 4; do
    for _ in $(seq 300); do [ -s "$work/out.$i" ] && break; sleep 0.1; done
    [ -s "$work/out.$i" ] || fail "client $i got nothing before the strike"
  done
  start=$(now_ms)
  kill "-$signal" "${pids[$rank]}"
  wait_server 20
  for i in 1 2 3 4; do
    if wait "${clients[$((i - 1))]}"; then fail "client $i was told that all is well"; fi
    grep -q "^tamis: [A-Z_]*: " "$work/err.$i" || fail "client $i: $(cat "$work/err.$i")"
  done
  took=$(($(now_ms) - start))
  echo "$signal rank $rank of $ranks: mpirun exit $mpirun_code, all told after $took ms," \
    "clients: $(cut -d: -f2 "$work"/err.* | sort | uniq -c | xargs)"
  [ "$mpirun_code" -ne 0 ] && [ "$mpirun_code" -ne 124 ] || fail "mpirun: $mpirun_code"
  [ "$took" -le 10000 ] || fail "it took $took ms"
  for pid in "${pids[@]}"; do
    while alive "$pid" && [ $(($(now_ms) - start)) -le 10000 ]; do sleep 0.05; done
    if alive "$pid"; then
      fail "rank process $pid is left"
      kill -CONT "$pid"
      kill -KILL "$pid"
    fi
  done
  [ "$failures" -eq 0 ] || cat "$log"
}

for ranks in 2 3; do
  for signal in KILL STOP; do
    for ((rank = 0; rank < ranks; ++rank)); do
      [ "$failures" -eq 0 ] && strike "$signal" "$rank" "$ranks"
    done
  done
done
[ "$failures" -eq 0 ]
