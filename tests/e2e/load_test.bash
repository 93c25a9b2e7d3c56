#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 16 clients, 200 requests of mixed lengths, some cancelled, some malformed, on two ranks.
# usage: load_test.bash TAMIS LOAD_DRIVER
. "$(dirname "$0")/server.bash"

start_server 2 || exit 1
pids=$(rank_pids)
timeout 900 "$2" "$target" 16 200 || fail "the load driver found something wrong"
[ "$pids" = "$(rank_pids)" ] || fail "a rank was lost"
stop_server
[ "$failures" -eq 0 ]
