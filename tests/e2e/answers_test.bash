#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Greedy answers over gRPC are the same at 1, 2 and 3 ranks; the client's output is well-formed;
# malformed input gets one line and its exit code; SIGUSR1 drains; an idle server rests.
. "$(dirname "$0")/server.bash"

fields() {  # of the JSON object on stdin that `generate --json` printed
  python3 -c '
import json, sys
o = json.load(sys.stdin)
assert list(o) == ["text", "token_ids", "finish_reason", "usage", "timing"], list(o)
assert list(o["usage"]) == ["prompt_tokens", "completion_tokens"]
assert list(o["timing"]) == ["ttft_ms", "itl_ms_p50", "itl_ms_p99", "e2e_ms", "tokens_per_second"]
assert o["usage"]["completion_tokens"] == len(o["token_ids"])
print(o["token_ids"], o["finish_reason"], repr(o["text"]))'
}

ask_all() {
  generate --prompt "The capital of France is" --max-tokens 12 --temperature 0 --json | fields
  generate --prompt "Water boils at" --max-tokens 12 --temperature 0 --stop "C, which" --json | fields
  generate --token-ids 1,4093,198 --max-tokens 8 --temperature 0 --json | fields
  generate --prompt "Pick a number:" --max-tokens 8 --temperature 0.8 --seed 7 --json | fields
  timeout 60 "$tamis" chat --target "$target" --prompt "Say hello." --max-tokens 12 --temperature 0
  printf 'Say one.\nSay two.\n/exit\n' |
    timeout 60 "$tamis" chat --target "$target" --max-tokens 6 --temperature 0
}

# expect_error CODE PATTERN COMMAND...: that exit code, and one line on stderr that matches.
expect_error() {
  local code=$1 pattern=$2 error got
  shift 2
  error=$("$@" 2>&1 >/dev/null)
  got=$?
  [ "$got" -eq "$code" ] || fail "exit $got instead of $code: $*"
  [ "$(wc -l <<<"$error")" -eq 1 ] || fail "not one line: $error"
  grep -q "$pattern" <<<"$error" || fail "'$error' does not say '$pattern'"
}

for ranks in 1 2 3; do
  start_server "$ranks" || exit 1
  ask_all >"$work/answers.$ranks" || fail "a client failed on $ranks ranks"
  [ "$(wc -l <"$work/answers.$ranks")" -ge 7 ] || fail "answers are missing on $ranks ranks"
  cmp "$work/answers.1" "$work/answers.$ranks" || {
    diff "$work/answers.1" "$work/answers.$ranks"
    fail "answers differ on $ranks ranks"
  }
  if [ "$ranks" -eq 2 ]; then
    expect_error 1 "INVALID_ARGUMENT: sampling.max_tokens" generate --prompt x --max-tokens 0
    expect_error 1 "INVALID_ARGUMENT: sampling.top_p" generate --prompt x --top-p 2
    expect_error 1 "INVALID_ARGUMENT: text: not valid UTF-8" generate --prompt $'\xff'
    expect_error 1 "INVALID_ARGUMENT: token_ids.ids" generate --token-ids 1,999999
    expect_error 1 "DEADLINE_EXCEEDED" generate --prompt x --max-tokens 2000 --ignore-eos --timeout 0.5
    expect_error 1 "UNAVAILABLE" timeout 30 "$tamis" generate --target 127.0.0.1:1 --prompt x
    expect_error 1 "cannot be read" "$tamis" generate --prompt-file /
    expect_error 2 "seed" "$tamis" generate --prompt x --seed -1
    expect_error 2 "no-such-flag" "$tamis" generate --prompt x --no-such-flag
    expect_error 2 "" "$tamis" generate --target "$target"
    # A taken port: one clear line, exit 1, before the weights are read.
    serve=("$tamis" serve --config "$root/configs/smollm2-cpu.yaml" --model "$model" --port "${target##*:}")
    expect_error 1 "cannot listen on 127.0.0.1:${target##*:}" "${serve[@]}" --log-level error
    refused=$("${serve[@]}" 2>&1)
    grep -q "memory of rank 0" <<<"$refused" || fail "the log of a refused start is missing: $refused"
    ! grep "loading weights" <<<"$refused" || fail "the weights were read before the port was tried"

    # Idle: CPU ticks (10 ms) of each rank over 5 s.
    sleep 2
    for pid in $(rank_pids); do
      before=$(awk '{print $14 + $15}' "/proc/$pid/stat")
      sleep 5
      ticks=$(($(awk '{print $14 + $15}' "/proc/$pid/stat") - before))
      echo "idle: $ticks ticks of 500"
      [ "$ticks" -lt 25 ] || fail "an idle rank used $ticks of 500 ticks"
    done

    # A drain finishes what runs and refuses what comes.
    generate --prompt "Once upon a time" --max-tokens 60 --ignore-eos --temperature 0 --json \
      >"$work/running" &
    client=$!
    sleep 1
    kill -USR1 "$mpirun_pid"
    sleep 0.5
    generate --prompt "late" --max-tokens 1 2>"$work/late" && fail "a draining server took a request"
    grep -q "UNAVAILABLE" "$work/late" || fail "late: $(cat "$work/late")"
    wait "$client" || fail "the drain cut a running stream"
    fields <"$work/running" | grep -q " length " || fail "the running answer is not whole"
    wait_server 40
    [ "$mpirun_code" -eq 0 ] || fail "mpirun exited $mpirun_code after a drain"
  else
    stop_server
  fi
done
cat "$work/answers.1"
grep -q "stop ' 100°'" "$work/answers.1" || fail "the stop string did not end its answer"
[ "$failures" -eq 0 ]
