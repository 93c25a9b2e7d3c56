// SPDX-License-Identifier: Apache-2.0
// kernels_bench [decode] [prefill] [matmul] [small]: the named tables, or all of them.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/bench/harness.h"

int main(int argc, char** argv) {
  using tamis::bench::Bench;
  if (tamis::CudaDeviceCount() == 0) {
    std::fprintf(stderr, "kernels_bench: no CUDA device is visible\n");
    return 1;
  }
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  const std::vector<std::pair<std::string, std::function<void(Bench&)>>> tables = {
      {"decode", tamis::bench::BenchDecodeAttention},
      {"prefill", tamis::bench::BenchPrefillAttention},
      {"matmul", tamis::bench::BenchMatMul},
      {"small", tamis::bench::BenchSmallOps}};
  tamis::SetCudaDevice(0);
  Bench bench;
  for (const auto& [name, run] : tables) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end()) {
      run(bench);
    }
  }
  return 0;
}
