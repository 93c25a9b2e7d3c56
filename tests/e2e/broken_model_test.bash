#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Broken model files and wrong options: one clear line that names the file, exit 1 (usage: 2), at 1,
# 2 and 3 ranks.
. "$(dirname "$0")/server.bash"

printf 'GGUF' >"$work/short.gguf"
head -c 100000 "$model" >"$work/header.gguf"
head -c 60000000 "$model" >"$work/truncated.gguf"
{ printf 'XXXX'; tail -c +5 "$model" | head -c 100000; } >"$work/magic.gguf"
mkdir "$work/empty"
mkdir "$work/json" && echo '{"model_type": ' >"$work/json/config.json"

# expect CODE PATTERN RANKS FLAGS...
expect() {
  local code=$1 pattern=$2 ranks=$3 got lines
  shift 3
  timeout 60 mpirun -n "$ranks" "$tamis" serve --log-level error --port 0 "$@" \
    >"$work/out" 2>"$work/err"
  got=$?
  [ "$got" -eq "$code" ] || fail "exit $got instead of $code on $ranks ranks: $*"
  lines=$(grep "^tamis: " "$work/err")
  [ "$(wc -l <<<"$lines")" -eq 1 ] || fail "not one line on $ranks ranks: $(cat "$work/err")"
  grep -q -- "$pattern" <<<"$lines" || fail "'$lines' does not say '$pattern'"
  [ "$ranks" -ne 1 ] || echo "$lines"
}

for ranks in 1 2 3; do
  for file in short header truncated magic; do
    expect 1 "$file.gguf" "$ranks" --model "$work/$file.gguf"
  done
  expect 1 "none.gguf" "$ranks" --model "$work/none.gguf"
  expect 1 "$work/empty" "$ranks" --model "$work/empty"
  expect 1 "config.json" "$ranks" --model "$work/json"
  expect 1 "tensor-parallel-size: 7" "$ranks" --model "$model" --tensor-parallel-size 7
  expect 1 "max-model-len: 1000000" "$ranks" --model "$model" --max-model-len 1000000
  expect 1 "MiB of memory" "$ranks" --model "$model" --num-kv-blocks 100000000
  expect 2 "kv-cache-dtype" "$ranks" --model "$model" --kv-cache-dtype fp8
  expect 2 "no-such-flag" "$ranks" --model "$model" --no-such-flag
done
[ "$failures" -eq 0 ]
