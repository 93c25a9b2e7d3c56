# SPDX-License-Identifier: Apache-2.0
# Sourced by the end-to-end tests: starts and ends the real program under mpirun. A test is called
# with the path of the program; the model's path comes from TAMIS_TEST_MODEL.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tamis=$1
model=${TAMIS_TEST_MODEL:-}
if [ -z "$model" ]; then
  echo "skipped: TAMIS_TEST_MODEL does not name a model (scripts/fetch-model gets one)"
  exit 77
fi
. "$root/scripts/mpi-env"
work=$(mktemp -d)
mpirun_pid=
failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
now_ms() { date +%s%3N; }

# The processes of the server: mpirun's children.
rank_pids() { ps -o pid= --ppid "$mpirun_pid" | sort -n; }

# start_server RANKS [FLAGS]: sets mpirun_pid, target and log. Reads $config, or the quick start's.
start_server() {
  local ranks=$1
  shift
  log=$work/server.log
  : >"$log"
  mpirun -n "$ranks" "$tamis" serve --config "${config:-$root/configs/smollm2-cpu.yaml}" --model "$model" \
    --port 0 "$@" >"$log" 2>&1 &
  mpirun_pid=$!
  target=
  for _ in $(seq 1200); do
    target=$(sed -n 's/.*serving on \([^ ]*:[0-9][0-9]*\).*/\1/p' "$log" | head -n 1)
    [ -n "$target" ] && return 0
    kill -0 "$mpirun_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log"
  fail "the server did not start on $ranks ranks"
  return 1
}

# Waits at most SECONDS for mpirun's end; sets mpirun_code (124 if it has not ended).
wait_server() {
  local deadline=$(($(now_ms) + $1 * 1000))
  while kill -0 "$mpirun_pid" 2>/dev/null; do
    if [ "$(now_ms)" -ge "$deadline" ]; then mpirun_code=124; return; fi
    sleep 0.05
  done
  wait "$mpirun_pid"
  mpirun_code=$?
}

# Drains by SIGUSR1 to mpirun, which must then exit 0.
stop_server() {
  kill -USR1 "$mpirun_pid"
  wait_server 60
  [ "$mpirun_code" -eq 0 ] || { cat "$log"; fail "mpirun exited $mpirun_code after a drain"; }
}

generate() { timeout 120 "$tamis" generate --target "$target" "$@"; }

finish() {
  if [ -n "$mpirun_pid" ] && kill -0 "$mpirun_pid" 2>/dev/null; then
    kill -CONT $(rank_pids) 2>/dev/null
    kill -KILL $(rank_pids) "$mpirun_pid" 2>/dev/null
  fi
  rm -rf "$work"
}
trap finish EXIT
