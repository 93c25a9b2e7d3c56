#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The load test from one GPU, in float32 as on CPUs: every answer equals the lone one's; and the
# server says where it runs, captures its graphs and drains.
# usage: gpu_load_test.bash TAMIS LOAD_DRIVER
. "$(dirname "$0")/server.bash"

start_server 1 --device cuda || exit 1
grep -q 'captured [0-9]* CUDA graphs' "$log" || { cat "$log"; fail "no graphs were captured"; }
timeout 300 "$2" "$target" 16 200 || fail "the load driver found something wrong"
stop_server
[ "$failures" -eq 0 ]
