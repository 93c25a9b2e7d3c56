#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything of bench/results/h100.md about decode steps, in one go on one GPU, beside plain PyTorch
# on the same card. Usage: bench/h100.sh TAMIS OUT [SECTION...]
#   TAMIS    the program, e.g. build/cuda-static/launcher/tamis
#   OUT      a folder for the logs and JSON files
#   SECTION  dense, sparse, break-even, long, simulate, kernels, torch; or h200, torch-h200, which need
#            more than 80 GB; default: the first seven
# A section that fails is reported and the rest goes on; exit 1 if any did.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '3,9p' "$0"; exit 2; }
tamis=$(realpath "$1"); out=$2; shift 2
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- dense sparse break-even long simulate kernels torch
mkdir -p "$out"
omnikv=(--selection-filter-layers 2,8,18 --num-selected-tokens 2048)
selected=(--selection-filter-attention selected)
latencies=(--collective-latencies "$here/collective_latencies.txt")
failed=0

# run NAME COMMAND...: the output goes to the terminal and to OUT/NAME.log.
run() {
  local name=$1; shift
  echo "## $name"; echo "\$ ${*//$tamis/tamis}"
  local begin=$SECONDS
  "$@" 2>&1 | tee "$out/$name.log" || { echo "$name FAILED"; failed=1; }
  echo "($((SECONDS - begin)) s)"; echo
}
decode() { run "$1" "$tamis" bench decode --json "$out/$1.json" "${@:2}"; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
date -u +%Y-%m-%d
"$tamis" --version
for section in "$@"; do
  case $section in
    dense)
      # The bounds of a step's launches follow the longest context of a run, so short ones get runs
      # of their own besides.
      decode dense-short --model llama-3-8b --cases 1x1K,8x1K,32x2K
      decode dense-long --model llama-3-8b --cases 1x1K,1x128K,3x128K,8x32K ;;
    sparse)
      decode sparse --model llama-3-8b "${omnikv[@]}" --cases 1x4K,1x128K,3x128K,8x32K
      decode selected --model llama-3-8b "${omnikv[@]}" "${selected[@]}" --cases 1x128K ;;
    break-even) decode break-even --model llama-3-8b "${omnikv[@]}" --break-even ;;
    long)
      decode long --model llama-3-8b "${omnikv[@]}" --cases 1x450K
      decode long-selected --model llama-3-8b "${omnikv[@]}" "${selected[@]}" --cases 1x450K ;;
    simulate)
      decode simulate-70b --model llama-3-70b --simulate-rank 0/8 "${latencies[@]}" \
        --cases 1x8K,1x128K,8x128K "${omnikv[@]}" ;;
    h200) decode h200 --model llama-3-8b "${omnikv[@]}" --cases 1x1K,1x128K,4x128K,8x32K ;;
    kernels) run kernels "$tamis" bench kernels --json "$out/kernels.json" ;;
    torch)
      run torch python3 "$here/torch_decode.py" --cases 1x1024,1x131072,2x131072,8x32768,32x2048 ;;
    torch-h200) run torch-h200 python3 "$here/torch_decode.py" --cases 4x131072,8x32768 ;;
    *) echo "no section $section"; exit 2 ;;
  esac
done
exit $failed
