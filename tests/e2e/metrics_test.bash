#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real Prometheus reads the metrics while 16 clients run; its numbers are the clients' own.
# usage: metrics_test.bash TAMIS
. "$(dirname "$0")/server.bash"
prometheus=${TAMIS_TEST_PROMETHEUS:-$(command -v prometheus || true)}
if [ ! -x "$prometheus" ]; then
  echo "skipped: no prometheus (scripts/fetch-prometheus gets one for TAMIS_TEST_PROMETHEUS)"
  exit 77
fi

read -r metrics_port prometheus_port < <(python3 - <<'PYTHON'
import socket
held = [socket.socket() for _ in range(2)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
)
start_server 2 --metrics-port "$metrics_port" || exit 1

cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: tamis
    static_configs: [{targets: ["127.0.0.1:$metrics_port"]}]
YAML
"$prometheus" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
  --web.listen-address="127.0.0.1:$prometheus_port" >"$work/prometheus.log" 2>&1 &
prometheus_pid=$!
end_prometheus() { kill -KILL "$prometheus_pid" 2>/dev/null; finish; }
trap end_prometheus EXIT

# 16 clients, two requests each, of different lengths.
clients=()
for client in $(seq 16); do
  (for turn in 1 2; do
     generate --json --ignore-eos --max-tokens $((2 + client % 5 + turn)) --temperature 0 \
       --prompt "Client number $client counts: one, two" >"$work/answer.$client.$turn" || exit 1
   done) &
  clients+=($!)
done
for pid in "${clients[@]}"; do wait "$pid" || fail "a client got no answer"; done

python3 - "$prometheus_port" "$work" <<'PYTHON' || fail "Prometheus and the clients disagree"
import glob, json, sys, time, urllib.parse, urllib.request

port, work = sys.argv[1:]
answers = [json.load(open(path)) for path in glob.glob(work + "/answer.*")]
usage = {key: sum(answer["usage"][key] for answer in answers)
         for key in ("prompt_tokens", "completion_tokens")}
gaps = usage["completion_tokens"] - len(answers)

def get(path, **query):
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.load(reply)["data"]

def value(expression):
    result = get("query", query=expression)["result"]
    return float(result[0]["value"][1]) if result else None

wanted = {
    "sum(vllm:prompt_tokens_total)": usage["prompt_tokens"],
    "sum(vllm:generation_tokens_total)": usage["completion_tokens"],
    'sum(vllm:request_success_total{finished_reason="length"})': len(answers),
    "sum(vllm:request_success_total)": len(answers),
    "sum(vllm:time_to_first_token_seconds_count)": len(answers),
    "sum(vllm:inter_token_latency_seconds_count)": gaps,
    'sum(vllm:e2e_request_latency_seconds_bucket{le="+Inf"})': len(answers),
    "sum(vllm:request_prompt_tokens_sum)": usage["prompt_tokens"],
    "sum(vllm:num_requests_running)": 0,
    "sum(vllm:num_requests_waiting)": 0,
    "sum(vllm:kv_cache_usage_perc)": 0,
    "sum(vllm:num_preemptions_total)": 0,
    'count(tamis:rank_heartbeat_age_seconds{rank="1"})': 1,
    # What is counted by step adds up to what is counted by request: every prompt token, and every
    # generated one but the last of each request, which no later step reads.
    "sum(vllm:iteration_tokens_total_sum)":
        usage["prompt_tokens"] + usage["completion_tokens"] - len(answers),
    'up{job="tamis"}': 1,
}
deadline = time.monotonic() + 20
while True:
    try:
        found = {expression: value(expression) for expression in wanted}
    except OSError as error:  # Prometheus is still starting
        found = {"error": str(error)}
    if found == wanted or time.monotonic() > deadline:
        break
    time.sleep(0.5)
for expression in wanted:
    if found.get(expression) != wanted[expression]:
        print(f"{expression}: {found.get(expression)}, but the clients say {wanted[expression]}")

types = {entry["metric"]: entry["type"]
         for entry in get("targets/metadata", match_target='{job="tamis"}')}
for name, kind in {"vllm:num_requests_waiting": "gauge", "vllm:prompt_tokens_total": "counter",
                   "vllm:e2e_request_latency_seconds": "histogram",
                   "tamis:step_time_seconds": "histogram"}.items():
    if types.get(name) != kind:
        print(f"{name}: of type {types.get(name)}, not {kind}")
        found = None
print(f"{len(answers)} answers, {usage['prompt_tokens']} prompt and "
      f"{usage['completion_tokens']} generated tokens; Prometheus has {len(types)} metrics")
sys.exit(found != wanted)
PYTHON
stop_server
[ "$failures" -eq 0 ]
