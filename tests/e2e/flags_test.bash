#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The flag table of the root README names every flag of `tamis serve --help`, and no other.
# usage: flags_test.bash TAMIS
root=$(cd "$(dirname "$0")/../.." && pwd)
help=$("$1" serve --help | grep -oE '^ +--[a-z-]+' | grep -oE '[a-z][a-z-]+' | sort -u)
table=$(grep -E '^\| *`--[a-z]' "$root/README.md" | grep -oE '`--[a-z][a-z-]*' |
  grep -oE '[a-z][a-z-]+' | sort -u)
[ -n "$help" ] || { echo "no flags in --help"; exit 1; }
diff <(echo "$help") <(echo "$table") || { echo "< only in --help, > only in README.md"; exit 1; }
