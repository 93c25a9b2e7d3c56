// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/decode_report.h"

#include <cstdio>

namespace tamis {
namespace {

const char* ModeName(SelectionMode mode) {
  return mode == SelectionMode::kOff ? "off" : mode == SelectionMode::kOn ? "on" : "auto";
}

}  // namespace

double SimulatedCalls::total_ms() const {
  double total = 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    total += static_cast<double>(calls[i].count) * us[i] * 1e-3;
  }
  return total;
}

double DecodeRow::step_ms() const {
  return Quantile(times.ms, 0.5) + (simulated ? simulated->total_ms() : 0);
}

void PrintHeading(const DecodeRank& rank, double ceiling, bool simulated) {
  std::printf("read ceiling: %.3f TB/s (%s), %s\n%s\n\n", ceiling / 1e12, rank.device.name.c_str(),
              DTypeName(rank.dtype), RenderMemoryBudget(rank.budget).c_str());
  if (simulated) {
    std::printf("rank %d of %d, simulated: bytes of this rank; collectives from a table\n\n",
                rank.shard.rank, rank.shard.size);
  }
  std::printf(
      "| batch x context | asked | mode | step ms | fastest | 90 %% | %sgap us | tokens/s | GB |"
      " TB/s | %% of ceiling |\n|---|---|---|---|---|---|%s---|---|---|---|---|\n",
      simulated ? "collectives ms | total ms | " : "", simulated ? "---|---|" : "");
}

void PrintRow(const DecodeRow& row, double ceiling) {
  const double ms = row.step_ms();
  const double rate = row.bytes.total() / ms * 1e3;
  std::printf("| %lldx%lld | %s | %s | %.3f | %.3f | %.3f | ",
              static_cast<long long>(row.what.batch), static_cast<long long>(row.what.context),
              ModeName(row.asked), row.sparse ? "sparse" : "dense", Quantile(row.times.ms, 0.5),
              Quantile(row.times.ms, 0.0), Quantile(row.times.ms, 0.9));
  if (row.simulated) std::printf("%.3f | %.3f | ", row.simulated->total_ms(), ms);
  if (row.times.gap_us.empty()) {
    std::printf("- | ");
  } else {
    std::printf("%.1f | ", Quantile(row.times.gap_us, 0.5));
  }
  std::printf("%.1f | %.3f | %.3f | %.1f |\n", static_cast<double>(row.what.batch) / ms * 1e3,
              row.bytes.total() / 1e9, rate / 1e12, 100 * rate / ceiling);
  std::fflush(stdout);
}

nlohmann::json ToJson(const DecodeRow& row, double ceiling) {
  const double ms = row.step_ms();
  const double rate = row.bytes.total() / ms * 1e3;
  nlohmann::json json = {{"batch", row.what.batch},
                         {"context", row.what.context},
                         {"asked", ModeName(row.asked)},
                         {"mode", row.sparse ? "sparse" : "dense"},
                         {"measured_ms", Quantile(row.times.ms, 0.5)},
                         {"measured_ms_min", Quantile(row.times.ms, 0.0)},
                         {"measured_ms_p90", Quantile(row.times.ms, 0.9)},
                         {"step_ms", ms},
                         {"tokens_per_s", static_cast<double>(row.what.batch) / ms * 1e3},
                         {"weight_bytes", row.bytes.weights},
                         {"kv_bytes", row.bytes.kv},
                         {"bytes_per_s", rate},
                         {"ceiling_percent", 100 * rate / ceiling}};
  if (!row.times.gap_us.empty()) {
    json["host_gap_us"] = Quantile(row.times.gap_us, 0.5);
    json["device_ms"] = Quantile(row.times.device_ms, 0.5);
  }
  if (!row.simulated) return json;
  json["collectives_ms"] = row.simulated->total_ms();
  for (size_t i = 0; i < row.simulated->calls.size(); ++i) {
    const StepCollective& call = row.simulated->calls[i];
    json["collectives"].push_back({{"name", call.name},
                                   {"bytes", call.bytes},
                                   {"count", call.count},
                                   {"us", row.simulated->us[i]}});
  }
  return json;
}

}  // namespace tamis
