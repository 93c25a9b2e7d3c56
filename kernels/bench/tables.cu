// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <utility>

#include "kernels/bench/harness.h"
#include "kernels/bench/tables.h"
#include "kernels/check.h"

namespace tamis::bench {
namespace {

using Table = std::pair<std::string, std::function<void(Bench&)>>;

std::vector<Table> Tables() {
  return {{"decode", BenchDecodeAttention},
          {"selection", BenchSelection},
          {"prefill", BenchPrefillAttention},
          {"matmul", BenchMatMul},
          {"small", BenchSmallOps},
          {"layer", BenchDecodeLayer},
          {"tuned", BenchTunedMatMul}};  // last: what it tunes stays so
}

}  // namespace

std::vector<std::string> KernelTableNames() {
  std::vector<std::string> names;
  for (const Table& table : Tables()) names.push_back(table.first);
  return names;
}

KernelTables RunKernelTables(const std::vector<std::string>& wanted) {
  const std::vector<std::string> names = KernelTableNames();
  for (const std::string& name : wanted) {
    CHECK(std::find(names.begin(), names.end(), name) != names.end()) << "no table " << name;
  }
  Bench bench;
  for (const auto& [name, run] : Tables()) {
    const bool named = std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    if (wanted.empty() || named) run(bench);
  }
  return {bench.read_ceiling(), bench.rows()};
}

}  // namespace tamis::bench
