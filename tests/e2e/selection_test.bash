#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sparse decoding of the real model: under the debugging check at 1 and 2 ranks, beside dense
# requests; what must equal dense decoding does; budgets out of range are refused by name.
. "$(dirname "$0")/server.bash"

ids() { python3 -c 'import json, sys; print(json.load(sys.stdin)["token_ids"])'; }
ask() { generate --prompt-file "$work/prompt" --max-tokens 40 --temperature 0 --ignore-eos --json "$@" | ids; }

for i in $(seq 30); do
  echo "The number of box $i is $((i * 37 % 101)). It stands in row $((i % 7))."
done >"$work/prompt"
echo "The number of box 11 is" >>"$work/prompt"
settings=(--selection-filter-layers 2,8,17 --num-selected-tokens 96 --selection-recent-tokens 16
  --selection-min-context 0 --max-selected-tokens 200 --selection-debug-check true
  --selection-mass-interval 8 --selection-dense-interval 16)

for ranks in 1 2; do
  start_server "$ranks" "${settings[@]}" || exit 1
  ask --selection off >"$work/off" || fail "dense at $ranks ranks"
  ask >"$work/auto" &
  auto=$!
  ask --selection off >"$work/beside" || fail "dense beside sparse at $ranks ranks"
  wait "$auto" || fail "sparse at $ranks ranks"
  ask --selection on --selected-fraction 0.1 >"$work/fraction" || fail "a fraction at $ranks ranks"
  cmp "$work/off" "$work/beside" || fail "a sparse request changed a dense one at $ranks ranks"
  cmp -s "$work/off" "$work/auto" && fail "selection changed nothing at $ranks ranks"
  cmp -s "$work/auto" "$work/fraction" && fail "a request's budget changed nothing"
  grep -q "selection, step 17 .* attention mass 0[.][0-9]* at layer 2, .* beside a dense run" "$log" ||
    fail "no step was measured: $(grep "selection, step" "$log")"
  [ "$ranks" -eq 1 ] && cp "$work/off" "$work/dense"
  cmp "$work/dense" "$work/off" || fail "dense answers differ at $ranks ranks"
  for bad in "--num-selected-tokens 201" "--num-selected-tokens 20" "--selected-fraction 1.5" \
    "--num-selected-tokens 0"; do
    # shellcheck disable=SC2086
    generate --prompt-file "$work/prompt" $bad >"$work/bad" 2>&1 && fail "$bad was taken"
    grep -q "INVALID_ARGUMENT: selection" "$work/bad" || fail "$bad: $(cat "$work/bad")"
  done
  stop_server
done

start_server 2 "${settings[@]}" --selection-force-sparse true || exit 1
ask >"$work/forced" || fail "forced"
cmp "$work/dense" "$work/forced" || fail "selecting everything differs from dense decoding"
stop_server

# A file with OmniKV's keys starts the server and selects; the same settings in ours answer alike.
cat >"$work/omnikv.json" <<JSON
{
  "model_name": "$model",
  "model_cls": "multi",
  "do_select_layers": "2,8,17",
  "num_wait_load_layers": 1,
  "num_of_selected_tokens": 0.05,
  "selector_cls": "last",
  "real_offload": false,
  "load_in_4bit": false
}
JSON
config=$work/omnikv.json start_server 2 --max-num-seqs 4 || exit 1
grep -q "config file: real_offload has no effect" "$log" || fail "no warning: $(cat "$log")"
ask >"$work/omnikv" || fail "OmniKV's file"
stop_server
start_server 2 --selection-filter-layers 2,8,17 --selection-wait-layers 1 --num-selected-tokens 0.05 \
  --selection-candidates prompt --selection-sink-tokens 0 --selection-recent-tokens 0 \
  --selection-min-context 0 --dtype auto --max-num-seqs 4 --max-num-batched-tokens 512 || exit 1
ask >"$work/ours" || fail "the same settings"
cmp "$work/omnikv" "$work/ours" || fail "OmniKV's file means something else"
cmp -s "$work/omnikv" "$work/dense" && fail "OmniKV's file selects nothing"
stop_server

"$tamis" serve --model "$model" --selection-filter-layers 2,40 --port 0 >"$work/refused" 2>&1 &&
  fail "a layer that does not exist was taken"
grep -q "tamis: selection: filter_layers contains a layer that is 40" "$work/refused" ||
  fail "no clear refusal: $(cat "$work/refused")"

[ "$failures" -eq 0 ] && echo "passed"
exit "$failures"
