// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/kernels.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/bench/tables.h"
#include "kernels/device.h"
#include "launcher/bench/common.h"

namespace tamis {
namespace {

// "qkv M=1 ours" has the rival "qkv M=1 cuBLASLt": the same name but for its last word.
std::string WithoutLastWord(const std::string& name) { return name.substr(0, name.rfind(' ')); }

nlohmann::json ToJson(const bench::KernelTables& tables) {
  nlohmann::json rows = nlohmann::json::array();
  for (const bench::KernelRow& row : tables.rows) {
    nlohmann::json json = {{"table", row.table}, {"name", row.name}, {"us", row.us}};
    if (row.flops > 0) json["flops_per_s"] = row.flops / row.us * 1e6;
    if (row.bytes > 0) {
      json["bytes"] = row.bytes;
      json["bytes_per_s"] = row.bytes / row.us * 1e6;
      json["ceiling_percent"] = 100 * row.bytes / row.us * 1e6 / tables.read_ceiling;
    }
    for (const bench::KernelRow& rival : tables.rows) {
      const bool ours = row.name.ends_with(" ours") && !rival.name.ends_with(" ours");
      if (!ours || WithoutLastWord(rival.name) != WithoutLastWord(row.name)) continue;
      json["rival"] = rival.name;
      json["rival_us_over_ours"] = rival.us / row.us;
    }
    rows.push_back(std::move(json));
  }
  return {{"device", CudaDeviceName()},
          {"read_ceiling_bytes_per_s", tables.read_ceiling},
          {"rows", std::move(rows)}};
}

absl::Status Run(const KernelsBenchFlags& flags) {
  if (!CudaBuilt()) {
    return absl::FailedPreconditionError("bench kernels: this program was built without CUDA");
  }
  const std::vector<std::string> names = bench::KernelTableNames();
  for (const std::string& name : flags.tables) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("bench kernels: \"", name, "\"; allowed are ", absl::StrJoin(names, ", ")));
  }
  if (CudaDeviceCount() == 0) {
    return absl::FailedPreconditionError("bench kernels: no CUDA device is visible");
  }
  SetCudaDevice(0);
  return WriteBenchJson(flags.json_path, "kernels", ToJson(bench::RunKernelTables(flags.tables)));
}

}  // namespace

void AddKernelsBench(CLI::App* app, KernelsBenchFlags* flags) {
  app->add_option("tables", flags->tables, "names of tables (default: all)");
  AddJsonFlag(app, &flags->json_path);
}

int RunKernelsBench(const KernelsBenchFlags& flags, int*, char***) {
  return ExitCodeOf(Run(flags));
}

}  // namespace tamis
