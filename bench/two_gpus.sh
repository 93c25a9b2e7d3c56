#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that wants several GPUs of one host, in one call, for W = 2 to 8 ranks:
#   bench/two_gpus.sh [W] [PART ...]      parts: see below; default all
# Builds first, unless TAMIS_BIN names a folder with tamis, cuda_group_test, cuda_collectives_bench,
# liveness_ranks. SmolLM2 at MODEL or from scripts/fetch-model. Results go to OUT (default
# build/two_gpus); a part that fails does not keep the others from running, and the exit code tells.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
ranks=${1:-2}
shift || true
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests collectives decode agreement selection liveness)
case $ranks in [2-8]) ;; *) echo "two_gpus: $ranks ranks; allowed are 2 to 8" >&2; exit 2 ;; esac
out=${OUT:-$root/build/two_gpus}
mkdir -p "$out"
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1  # no NVLink multicast
. "$root/scripts/mpi-env"
unset OMPI_MCA_mpi_yield_when_idle  # every rank has a core
failed=0
fail() { echo "two_gpus: FAILED: $*"; failed=1; }

bin=${TAMIS_BIN:-}
if [ -z "$bin" ]; then
  bin=$root/build/two_gpus/bin
  cmake --preset cuda >"$out/build.log" && cmake --build --preset cuda --target tamis cuda_group_test \
    cuda_collectives_bench liveness_ranks >>"$out/build.log" 2>&1 || { tail "$out/build.log"; exit 1; }
  mkdir -p "$bin"
  for program in launcher/tamis tests/parallel/cuda_group_test tests/parallel/liveness_ranks \
                 parallel/cuda_collectives_bench; do
    ln -sf "$root/build/cuda/$program" "$bin/"
  done
fi
run() { mpirun -n "$ranks" "$@"; }

part_tests() {
  run "$bin/cuda_group_test" >"$out/tests.txt" 2>&1 || fail "tests ($out/tests.txt)"
  grep -E "PASSED|FAILED|tests ran" "$out/tests.txt"
}

part_collectives() {
  run "$bin/cuda_collectives_bench" "$out/latencies.txt" 2>&1 | tee "$out/collectives.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || fail collectives
  python3 -m torch.distributed.run --nproc-per-node "$ranks" "$root/bench/torch_collectives.py" \
    2>"$out/torch.log" | tee "$out/torch.txt"
}

serve() {  # PORT RANKS [FLAGS]; the server's pid in $server
  local port=$1 on=$2
  shift 2
  mpirun -n "$on" "$bin/tamis" serve --model "$model" --port "$port" --device cuda \
    --dtype bfloat16 --gpu-memory-utilization 0.3 --max-num-seqs 16 "$@" >"$out/serve$port.log" 2>&1 &
  server=$!
  for _ in $(seq 120); do
    "$bin/tamis" generate --target "127.0.0.1:$port" --prompt a --max-tokens 1 >/dev/null 2>&1 && return
    sleep 0.25
  done
  fail "the server of $on ranks does not answer ($out/serve$port.log)"
}

part_agreement() {
  model=${MODEL:-$("$root/scripts/fetch-model")}
  local pids=()
  serve 50061 1; pids+=("$server")
  serve 50062 "$ranks"; pids+=("$server")
  python3 "$root/bench/split_agreement.py" "$bin/tamis" "$model" 127.0.0.1:50061 127.0.0.1:50062 \
    2>&1 | tee "$out/agreement.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || fail agreement
  kill "${pids[@]}" 2>/dev/null
  wait "${pids[@]}" 2>/dev/null
  return 0  # what mpirun says of its own end is not the part's result
}

# 200 sparse steps of SmolLM2, every selection compared over ranks and with a sort of the reduced
# scores: the server stops on a difference.
part_selection() {
  model=${MODEL:-$("$root/scripts/fetch-model")}
  serve 50063 "$ranks" --selection-filter-layers "4,12,20" --num-selected-tokens 96 \
    --selection-min-context 0 --selection-debug-check true
  "$bin/tamis" generate --target 127.0.0.1:50063 --prompt "$(printf 'Item %s is here. ' $(seq 60))" \
    --max-tokens 200 --ignore-eos --temperature 0 --json >"$out/selection.json" ||
    fail "selection ($out/serve50063.log)"
  grep -oE '"(completion|prompt)_tokens": *[0-9]+|"finish_reason": *"[a-z]+"' "$out/selection.json"
  kill "$server" && wait "$server" 2>/dev/null
  return 0
}

decode() {  # RANKS NAME MODEL CASES [FLAGS]
  local on=$1 name=$2 shapes=$3 cases=$4
  shift 4
  local launch=(mpirun -n "$on")
  [ "$on" -gt 1 ] || launch=()
  echo "== $name, $on rank(s)"
  timeout 120 "${launch[@]}" "$bin/tamis" bench decode --model "$shapes" --cases "$cases" \
    --json "$out/$name-$on.json" "$@" >"$out/$name-$on.txt" 2>&1 ||
    fail "$name on $on rank(s) ($out/$name-$on.txt)"
  grep -E "^\| [0-9b]|^tamis:" "$out/$name-$on.txt"
}

# Real ranks, one rank, and one rank simulated with the latencies that part collectives measured.
part_decode() {
  local cases=1x8K,1x32K,1x128K,8x8K,8x32K
  local omnikv=(--selection-filter-layers "2,8,18" --num-selected-tokens 2048 --selection-min-context 0)
  for on in 1 "$ranks"; do decode "$on" 8b llama-3-8b "$cases" "${omnikv[@]}"; done
  if [ -s "$out/latencies.txt" ]; then
    decode 1 8b-simulated llama-3-8b "$cases" "${omnikv[@]}" --simulate-rank "0/$ranks" \
      --collective-latencies "$out/latencies.txt"
  fi
  decode "$ranks" 70b llama-3-70b 1x8K --gpu-memory-utilization 0.95
}

part_liveness() {  # one rank killed, one stopped, while their GPUs wait for each other
  for signal in KILL STOP; do
    run "$bin/liveness_ranks" 100 gpu >"$out/liveness.txt" 2>&1 &
    local job=$! pid start
    for _ in $(seq 100); do
      [ "$(grep -c "^rank" "$out/liveness.txt")" -lt "$ranks" ] || break
      sleep 0.1
    done
    pid=$(sed -n 's/^rank 1 pid \([0-9]*\).*/\1/p' "$out/liveness.txt")
    sleep 0.5
    start=$(date +%s%N)
    kill -s "$signal" "$pid"
    wait "$job" && fail "mpirun ended with success after SIG$signal"
    echo "SIG$signal: the group ended after $((($(date +%s%N) - start) / 1000000)) ms"
  done
}

date -u "+%F %T UTC"
nvidia-smi --query-gpu=name --format=csv,noheader | sort | uniq -c
for part in "${parts[@]}"; do
  echo "=== $part"
  "part_$part" || fail "$part"
done
exit $failed
