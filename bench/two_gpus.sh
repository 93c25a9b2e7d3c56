#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that wants several GPUs of one host, in one run, for W = 2 to 8 ranks:
#   bench/two_gpus.sh [W] [PART ...]      parts: see below; default all
# Builds first, unless TAMIS_BIN names a folder with tamis, cuda_group_test, cuda_collectives_bench,
# liveness_ranks. SmolLM2 at MODEL or from scripts/fetch-model. Results go to OUT (default
# build/two_gpus); a part that fails does not keep the others from running, and the exit code tells.
# Where ranks must share a GPU, and with DEVICE=cpu (a small random model instead of 8B shapes), the
# parts agreement, logits, selection, liveness and drain run too; selection also with W = 1.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
ranks=${1:-2}
shift || true
parts=("$@")
device=${DEVICE:-cuda}
python=${PYTHON:-python3}
gpus=$([ "$device" = cpu ] && echo 0 || nvidia-smi -L | wc -l)
if [ ${#parts[@]} -eq 0 ]; then
  parts=(agreement logits selection liveness drain)
  [ "$gpus" -lt "$ranks" ] || parts=(tests collectives decode "${parts[@]}")
  [ "$ranks" -ne 1 ] || parts=(selection)
fi
case $ranks in [1-8]) ;; *) echo "two_gpus: $ranks ranks; allowed are 1 to 8" >&2; exit 2 ;; esac
out=${OUT:-$root/build/two_gpus}
mkdir -p "$out"
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1  # no NVLink multicast
. "$root/scripts/mpi-env"
[ "$device" = cpu ] || unset OMPI_MCA_mpi_yield_when_idle  # every rank has a core
failed=0
fail() { echo "two_gpus: FAILED: $*"; failed=1; }

bin=${TAMIS_BIN:-}
if [ -z "$bin" ]; then
  bin=$root/build/two_gpus/bin
  preset=$device
  programs=(launcher/tamis tests/parallel/liveness_ranks)
  [ "$device" = cpu ] || programs+=(tests/parallel/cuda_group_test parallel/cuda_collectives_bench)
  cmake --preset "$preset" >"$out/build.log" && cmake --build --preset "$preset" --target \
    "${programs[@]##*/}" >>"$out/build.log" 2>&1 || { tail "$out/build.log"; exit 1; }
  mkdir -p "$bin"
  for program in "${programs[@]}"; do ln -sf "$root/build/$preset/$program" "$bin/"; done
fi
run() { timeout 300 mpirun -n "$ranks" "$@"; }

part_tests() {
  run "$bin/cuda_group_test" >"$out/tests.txt" 2>&1 || fail "tests ($out/tests.txt)"
  grep -E "PASSED|FAILED|tests ran" "$out/tests.txt"
}

part_collectives() {
  run "$bin/cuda_collectives_bench" "$out/latencies.txt" 2>&1 | tee "$out/collectives.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || fail collectives
  timeout 300 "$python" -m torch.distributed.run --nproc-per-node "$ranks" \
    "$root/bench/torch_collectives.py" 2>"$out/torch.log" | tee "$out/torch.txt"
}

smollm2() { model=${MODEL:-$("$root/scripts/fetch-model")}; }

serve() {  # PORT RANKS MODEL GPU_MEMORY [FLAGS]; the server's pid in $server
  local port=$1 on=$2 served=$3 memory=(--dtype bfloat16 --gpu-memory-utilization "$4") end
  [ "$device" != cpu ] || memory=()
  shift 4
  mpirun -n "$on" "$bin/tamis" serve --model "$served" --port "$port" --device "$device" \
    "${memory[@]}" --max-num-seqs 16 "$@" >"$out/serve$port.log" 2>&1 &
  server=$!
  end=$((SECONDS + 120))
  while [ "$SECONDS" -lt "$end" ]; do
    kill -0 "$server" 2>/dev/null || break
    # Not one that another run left on this port.
    grep -q "^serving on " "$out/serve$port.log" &&
      timeout 20 "$bin/tamis" generate --target "127.0.0.1:$port" --prompt a --max-tokens 1 \
        &>/dev/null && return
    sleep 0.25
  done
  fail "the server of $on ranks does not answer ($out/serve$port.log)"
  stop "$server"
  return 1
}

stop() {  # PIDS of mpirun
  kill "$@" 2>/dev/null
  for _ in $(seq 150); do kill -0 "$@" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$@" 2>/dev/null
  wait "$@" 2>/dev/null
  return 0  # what mpirun says of its own end is not the part's result
}

part_agreement() {
  smollm2
  local pids=()
  serve 50061 1 "$model" 0.3 || return
  pids+=("$server")
  serve 50062 "$ranks" "$model" 0.6 || { stop "${pids[@]}"; return 1; }
  pids+=("$server")
  timeout 900 "$python" "$root/bench/split_agreement.py" "$bin/tamis" "$model" \
    127.0.0.1:50061 127.0.0.1:50062 2>&1 | tee "$out/agreement.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || fail agreement
  stop "${pids[@]}"
}

# A random model of 8B shapes, or a small one for CPUs: $dummy, of $vocab words.
make_dummy() {
  local shape=llama-3-8b
  [ "$device" != cpu ] || shape=tiny
  dummy=$out/$shape
  "$python" "$root/bench/dummy_model.py" "$dummy" "$shape" || return
  vocab=$(sed -n 's/.*"vocab_size": \([0-9]*\).*/\1/p' "$dummy/config.json")
}

random_ids() {  # SEQUENCES LENGTH
  "$python" - "$@" "$vocab" <<'PYTHON'
import random, sys
sequences, length, vocab = map(int, sys.argv[1:])
ids = random.Random(6)
for _ in range(sequences):
    print(",".join(str(ids.randrange(vocab)) for _ in range(length)))
PYTHON
}

# 8 sequences of 256 random tokens: the logits of W ranks beside one rank's, and PyTorch's of the
# same weights and split.
part_logits() {
  local results=$out/logits split=("$python")
  make_dummy || return
  mkdir -p "$results"
  random_ids 8 256 >"$results/tokens"
  for on in 1 "$ranks"; do
    timeout 300 mpirun -n "$on" "$bin/tamis" bench logits --model "$dummy" --load-format dummy \
      --device "$device" --dtype bfloat16 --tokens "$results/tokens" --chunk-tokens 60 \
      --decode-tokens 16 --out "$results/tamis-$on" || return
  done
  [ "$gpus" -lt "$ranks" ] || split+=(-m torch.distributed.run --nproc-per-node "$ranks")
  if "$python" -c "import torch" 2>/dev/null; then
    timeout 300 "${split[@]}" "$root/bench/torch_split.py" "$dummy" \
      "$results/tokens" "$ranks" "$results" --chunk-tokens 60 --decode-tokens 16 \
      2>"$out/torch_split.log" || fail "torch_split.py ($out/torch_split.log)"
  elif [ "$device" != cpu ]; then
    fail "no PyTorch"
  fi
  "$python" "$root/bench/split_logits.py" "$results" "$ranks" "$vocab" 8 16 | tee "$out/logits.txt"
  return "${PIPESTATUS[0]}"
}

# 200 sparse steps, every selection compared over ranks and with a sort of the reduced scores: the
# server stops on a difference. Every 50th step's attention mass in its log shows that they select.
select_200() {  # PORT NAME MODEL GPU_MEMORY PROMPT_FLAG PROMPT [FLAGS]
  local port=$1 name=$2 served=$3 share=$4 prompt=("$5" "$6")
  shift 6
  serve "$port" "$ranks" "$served" "$share" --selection-min-context 0 \
    --selection-debug-check true --selection-mass-interval 50 "$@" || return
  timeout 300 "$bin/tamis" generate --target "127.0.0.1:$port" "${prompt[@]}" --max-tokens 201 \
    --ignore-eos --temperature 0 --json >"$out/selection-$name.json" ||
    fail "selection of $name ($out/serve$port.log)"
  echo "$name, $ranks rank(s): $(grep -oE '"(completion|prompt)_tokens": *[0-9]+' \
    "$out/selection-$name.json" | xargs), steps measured:" \
    "$(grep -c "selection, step .* attention mass" "$out/serve$port.log")"
  grep -q '"completion_tokens": *201' "$out/selection-$name.json" &&
    grep -q "selection, step .* attention mass" "$out/serve$port.log" || fail "$name selects nothing"
  stop "$server"
}

part_selection() {
  smollm2
  select_200 50063 smollm2 "$model" 0.3 --prompt "$(printf 'Item %s is here. ' $(seq 60))" \
    --selection-filter-layers "4,12,20" --num-selected-tokens 96
  make_dummy || return
  select_200 50064 dummy "$dummy" 0.6 --token-ids "$(random_ids 1 4000)" --load-format dummy \
    --selection-filter-layers "2,8,18" --num-selected-tokens 1024 --max-model-len 8192 \
    --max-num-batched-tokens 2048
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

now_ms() { date +%s%3N; }

# liveness_ranks, an all-reduce under way all the time.
lose_bare_rank() {  # SIGNAL
  local mode=gpu job pid start took
  [ "$device" != cpu ] || mode=run
  run "$bin/liveness_ranks" 100 "$mode" >"$out/liveness.txt" 2>&1 &
  job=$!
  for _ in $(seq 200); do
    [ "$(grep -c "^rank" "$out/liveness.txt")" -lt "$ranks" ] || break
    sleep 0.1
  done
  pid=$(sed -n 's/^rank 1 pid \([0-9]*\).*/\1/p' "$out/liveness.txt")
  if [ -z "$pid" ]; then
    kill "$job" 2>/dev/null
    wait "$job"
    fail "liveness_ranks did not start: $(tail -n 1 "$out/liveness.txt")"
    return
  fi
  sleep 0.5
  start=$(now_ms)
  kill -s "$1" "$pid"
  for _ in $(seq 200); do any_alive "$job" || break; sleep 0.1; done
  took=$(($(now_ms) - start))
  kill -KILL "$job" "$pid" 2>/dev/null
  wait "$job" && fail "mpirun ended with success after SIG$1"
  echo "SIG$1, liveness_ranks: the group ended after $took ms"
  [ "$took" -le 10000 ] || fail "the group outlived SIG$1 by $took ms"
}

# A process that nobody has reaped yet is dead too.
any_alive() {
  for pid in "$@"; do
    grep -qs ') [^Z]' "/proc/$pid/stat" && return
  done
  return 1
}

# "RANK PID" of each rank that mpirun PID started.
ranks_of() {
  local status pid
  for status in $(grep -lsE "^PPid:\s*$1$" /proc/[0-9]*/status); do
    pid=${status//[!0-9]/}
    echo "$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')" "$pid"
  done | sort -n
}

# A server whose 16 clients stream: each ends with an error, and every rank is gone, within 10 s.
lose_rank() {  # SIGNAL RANK
  local signal=$1 rank=$2 work=$out/liveness clients=() pids=() start told="" gone="" told_by="" code
  serve 50065 "$ranks" "$model" 0.3 --max-model-len 4096 || return
  rm -rf "$work" && mkdir -p "$work"
  mapfile -t pids < <(ranks_of "$server" | cut -d ' ' -f 2)
  [ "${#pids[@]}" -eq "$ranks" ] || { fail "ranks: ${pids[*]}"; stop "$server"; return 1; }
  for i in $(seq 16); do
    "$bin/tamis" generate --target 127.0.0.1:50065 --prompt "Client $i tells a long story:" \
      --max-tokens 4000 --ignore-eos >"$work/out$i" 2>"$work/err$i" &
    clients+=($!)
  done
  for i in $(seq 16); do
    for _ in $(seq 300); do [ -s "$work/out$i" ] && break; sleep 0.1; done
  done
  any_alive "${clients[@]}" || fail "no client streams"
  start=$(now_ms)
  kill -s "$signal" "${pids[$rank]}"
  while [ -z "$told" ] || [ -z "$gone" ]; do
    [ -n "$told" ] || any_alive "${clients[@]}" || told=$(($(now_ms) - start))
    [ -n "$gone" ] || any_alive "$server" "${pids[@]}" || gone=$(($(now_ms) - start))
    [ $(($(now_ms) - start)) -lt 20000 ] || break
    sleep 0.02
  done
  told_by=$(sed -n 's/^tamis: \([A-Z_]*\): .*/\1/p' "$work"/err* | sort | uniq -c | xargs)
  kill -KILL "${pids[@]}" "${clients[@]}" 2>/dev/null
  wait "${clients[@]}" 2>/dev/null
  kill -KILL "$server" 2>/dev/null
  wait "$server"
  code=$?
  echo "SIG$signal rank $rank of $ranks: 16 clients told after ${told:-too long} ms ($told_by)," \
    "all ranks and mpirun gone after ${gone:-too long} ms, mpirun's exit code $code"
  [ "$(cat "$work"/err* | grep -c "^tamis: [A-Z_]*: ")" -eq 16 ] || fail "a client was told nothing"
  [ "${told:-99999}" -le 10000 ] && [ "${gone:-99999}" -le 10000 ] && [ "$code" -ne 0 ] ||
    fail "the loss of rank $rank (SIG$signal)"
}

part_liveness() {
  smollm2
  for signal in KILL STOP; do lose_bare_rank "$signal"; done
  for rank in 0 1; do  # the leader and a follower
    for signal in KILL STOP; do lose_rank "$signal" "$rank"; done
  done
}

# SIGUSR1 to mpirun: clients get their whole answers, and mpirun exits 0.
part_drain() {
  smollm2
  serve 50066 "$ranks" "$model" 0.3 --max-model-len 2048 || return
  local start clients code length=1500
  [ "$device" != cpu ] || length=150
  "$bin/tamis" generate --target 127.0.0.1:50066 --prompt "A long story:" --max-tokens "$length" \
    --ignore-eos >"$out/drain.txt" 2>&1 &
  clients=($!)
  "$bin/tamis" generate --target 127.0.0.1:50066 --prompt "Another one:" --max-tokens "$length" \
    --ignore-eos --json >"$out/drain.json" 2>&1 &
  clients+=($!)
  for _ in $(seq 300); do [ -s "$out/drain.txt" ] && break; sleep 0.1; done
  any_alive "${clients[0]}" || fail "the client does not stream"
  start=$(now_ms)
  kill -USR1 "$server"
  for _ in $(seq 400); do any_alive "$server" "${clients[@]}" || break; sleep 0.1; done
  kill -KILL "$server" "${clients[@]}" 2>/dev/null
  wait "${clients[0]}" || fail "the client of a drained server: $(tail -n 1 "$out/drain.txt")"
  wait "${clients[1]}"
  grep -q "\"completion_tokens\": *$length" "$out/drain.json" ||
    fail "a drained server's answer is not whole: $(tail -c 200 "$out/drain.json")"
  wait "$server"
  code=$?
  echo "drain: mpirun exit $code after $(($(now_ms) - start)) ms"
  [ "$code" -eq 0 ]
}

date -u "+%F %T UTC"
[ "$device" = cpu ] || nvidia-smi --query-gpu=name --format=csv,noheader | sort | uniq -c
for part in "${parts[@]}"; do
  echo "=== $part"
  "part_$part" || fail "$part"
done
exit $failed
