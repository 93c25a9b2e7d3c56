#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ways to end a server: a drain that runs out of time, SIGTERM to rank 0 once and twice, SIGTERM to
# mpirun, a signal while loading. Nothing hangs, no process is left, no client waits in vain.
. "$(dirname "$0")/server.bash"

# end NAME SECONDS CODES: a long stream runs, `strike` is called, mpirun must exit within SECONDS
# with one of CODES, and the client must have an error.
end() {
  local name=$1 seconds=$2 codes=$3 client start pids pid
  mapfile -t pids < <(rank_pids)
  : >"$work/out"
  generate --prompt "A long story:" --max-tokens 2000 --ignore-eos >"$work/out" 2>"$work/err" &
  client=$!
  for _ in $(seq 300); do [ -s "$work/out" ] && break; sleep 0.1; done
  start=$(now_ms)
  strike "${pids[0]}"
  wait_server "$seconds"
  echo "$name: mpirun exit $mpirun_code after $(($(now_ms) - start)) ms, $(cut -c1-60 "$work/err")"
  if wait "$client"; then fail "$name: the client was told that all is well"; fi
  grep -q "^tamis: UNAVAILABLE: " "$work/err" || fail "$name: client: $(cat "$work/err")"
  grep -qw "$mpirun_code" <<<"$codes" || { cat "$log"; fail "$name: mpirun exited $mpirun_code"; }
  for pid in "${pids[@]}"; do
    grep -qs ') [^Z]' "/proc/$pid/stat" && fail "$name: process $pid is left"
  done
}

start_server 2 --shutdown-timeout 1 || exit 1
strike() { kill -USR1 "$mpirun_pid"; }
end "a drain out of time" 15 0

start_server 2 --shutdown-timeout 60 || exit 1
strike() { kill -TERM "$1"; sleep 1; kill -TERM "$1"; }
end "SIGTERM to rank 0, twice" 15 0

start_server 2 || exit 1
strike() { kill -TERM "$mpirun_pid"; }
end "SIGTERM to mpirun" 15 "1 143"

# While loading: at once, with exit 1.
"$tamis" serve --config "$root/configs/smollm2-cpu.yaml" --model "$model" --port 0 \
  >"$work/loading" 2>&1 &
pid=$!
for _ in $(seq 200); do grep -q "memory of rank" "$work/loading" && break; sleep 0.02; done
kill -TERM "$pid"
for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
wait "$pid"
code=$?
echo "SIGTERM while loading: exit $code"
grep -q "serving on" "$work/loading" || [ "$code" -eq 1 ] || fail "exit $code while loading"
[ "$failures" -eq 0 ]
