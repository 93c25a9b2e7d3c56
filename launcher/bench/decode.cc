// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/decode.h"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/bench/read_ceiling.h"
#include "kernels/cpu_threads.h"
#include "launcher/bench/common.h"
#include "launcher/bench/decode_case.h"
#include "launcher/bench/decode_rank.h"
#include "launcher/bench/engine_steps.h"
#include "parallel/cuda_group.h"
#include "parallel/groups.h"
#include "runtime/engine/engine.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

struct Row {
  DecodeCase what;
  bool sparse = false;
  StepTimes times;
  StepBytes bytes;
};

// Tokens that a sparse layer attends to at this step; 0 = the step is dense.
double Attended(const DecodeRank& rank, SelectionMode mode, double mean_context) {
  if (!rank.layers.config.enabled()) return 0;
  const SelectionConfig& config = rank.layers.config;
  const auto tokens = static_cast<int64_t>(mean_context);
  const SelectionPlan plan = PlanSelection(config, mode, config.budget, tokens, tokens - 1);
  if (!plan.sparse()) return 0;
  return static_cast<double>(plan.sink_end + plan.k + tokens - plan.tail_begin);
}

absl::StatusOr<Row> RunCase(const DecodeBenchFlags& flags, const DecodeRank& rank,
                            const DecodeCase& what, SelectionMode mode, Engine& engine) {
  StepRun run{what.batch,
              what.context,
              flags.warmup,
              flags.steps,
              mode,
              rank.model.vocab_size,
              std::chrono::duration<double>(flags.timeout_s)};
  Row row;
  row.what = what;
  TAMIS_ASSIGN_OR_RETURN(row.times, TimeDecodeSteps(engine, run));
  const double attended = Attended(rank, mode, row.times.mean_context);
  row.sparse = attended > 0;
  row.bytes = CountStepBytes(rank.model, rank.shard, rank.dtype, rank.layers, what.batch,
                             row.times.mean_context, attended);
  return row;
}

void PrintHeading(const DecodeRank& rank, double ceiling) {
  std::printf("read ceiling: %.3f TB/s (%s)\n%s\n", ceiling / 1e12, rank.device.name.c_str(),
              RenderMemoryBudget(rank.budget).c_str());
  std::printf(
      "\n| batch x context | mode | step ms, median | fastest | 90 %% | tokens/s | GB "
      "| TB/s |"
      " %% of ceiling |\n|---|---|---|---|---|---|---|---|---|\n");
}

void PrintRow(const Row& row, double ceiling) {
  const double ms = Quantile(row.times.ms, 0.5);
  const double rate = row.bytes.total() / ms * 1e3;
  std::printf("| %lldx%lld | %s | %.3f | %.3f | %.3f | %.1f | %.3f | %.3f | %.1f |\n",
              static_cast<long long>(row.what.batch), static_cast<long long>(row.what.context),
              row.sparse ? "sparse" : "dense", ms, Quantile(row.times.ms, 0.0),
              Quantile(row.times.ms, 0.9), static_cast<double>(row.what.batch) / ms * 1e3,
              row.bytes.total() / 1e9, rate / 1e12, 100 * rate / ceiling);
  std::fflush(stdout);
}

nlohmann::json ToJson(const Row& row, double ceiling) {
  const double ms = Quantile(row.times.ms, 0.5);
  const double rate = row.bytes.total() / ms * 1e3;
  return {{"batch", row.what.batch},
          {"context", row.what.context},
          {"mode", row.sparse ? "sparse" : "dense"},
          {"step_ms", ms},
          {"step_ms_min", Quantile(row.times.ms, 0.0)},
          {"step_ms_p90", Quantile(row.times.ms, 0.9)},
          {"tokens_per_s", static_cast<double>(row.what.batch) / ms * 1e3},
          {"weight_bytes", row.bytes.weights},
          {"kv_bytes", row.bytes.kv},
          {"bytes_per_s", rate},
          {"ceiling_percent", 100 * rate / ceiling}};
}

// Rank 0: all cases, one after the other, while the engine runs on the calling thread.
absl::Status Lead(const DecodeBenchFlags& flags, const std::vector<DecodeCase>& cases,
                  Control& control, DecodeRank& rank, double ceiling) {
  Engine engine(rank.scheduler, control, *rank.worker);
  nlohmann::json rows = nlohmann::json::array();
  absl::Status status;
  PrintHeading(rank, ceiling);
  const auto measure = [&]() -> absl::Status {
    for (const DecodeCase& what : cases) {
      for (const SelectionMode mode : {SelectionMode::kOff, SelectionMode::kAuto}) {
        if (mode != SelectionMode::kOff && !rank.layers.config.enabled()) continue;
        TAMIS_ASSIGN_OR_RETURN(const Row row, RunCase(flags, rank, what, mode, engine));
        PrintRow(row, ceiling);
        rows.push_back(ToJson(row, ceiling));
      }
    }
    return absl::OkStatus();
  };
  std::thread driver([&] {
    status = measure();
    engine.Drain(std::chrono::steady_clock::now() + std::chrono::seconds(10));
  });
  engine.Run();
  driver.join();
  TAMIS_RETURN_IF_ERROR(status);
  return WriteBenchJson(flags.json_path, "decode",
                        {{"device", rank.device.name},
                         {"dtype", DTypeName(rank.dtype)},
                         {"ranks", rank.shard.size},
                         {"read_ceiling_bytes_per_s", ceiling},
                         {"rows", std::move(rows)}});
}

absl::Status CheckContexts(const DecodeBenchFlags& flags, const std::vector<DecodeCase>& cases) {
  StepRun run;
  run.warmup = flags.warmup;
  run.steps = flags.steps;
  for (const DecodeCase& one : cases) {
    if (one.context >= ContextMin(run)) continue;
    return absl::InvalidArgumentError(absl::StrCat("--cases: a context of ", one.context,
                                                   "; allowed with these --steps and ",
                                                   "--warmup is at least ", ContextMin(run)));
  }
  return absl::OkStatus();
}

absl::Status RunRank(const DecodeBenchFlags& flags, const ServeConfig& config, const MpiEnv& env) {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<DecodeCase> cases, ParseDecodeCases(flags.cases));
  TAMIS_RETURN_IF_ERROR(CheckContexts(flags, cases));
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = config.ranks.cpu_threads > 0 ? static_cast<int>(config.ranks.cpu_threads)
                                                   : std::max(1, cores / env.world().local_size);
  SetCpuMathThreads(threads);
  TAMIS_ASSIGN_OR_RETURN(const ChosenDevice device, ChooseDevice(config, env.world()));
  Group group = env.initialised() ? MakeMpiGroup(env) : MakeSelfGroup();
  if (device.kind == DeviceKind::kCuda) group = OnCuda(std::move(group));
  const double ceiling = bench::ReadCeiling(device.kind, threads);
  TAMIS_ASSIGN_OR_RETURN(DecodeRank rank, MakeDecodeRank(config, cases, env.world(), device,
                                                         *group.control, *group.collectives));
  if (env.world().rank == 0) return Lead(flags, cases, *group.control, rank, ceiling);
  FollowLeader(*group.control, *rank.worker);
  return absl::OkStatus();
}

}  // namespace

void AddDecodeBench(CLI::App* app, DecodeBenchFlags* flags) {
  AddModelFlags(app, &flags->serve);
  app->add_option("--cases", flags->cases,
                  "BATCHxCONTEXT, separated by commas, as 1x131072 or 8x32K (default 1x1024)");
  app->add_option("--steps", flags->steps, "steps that count, of each case (default 30)")
      ->check(CLI::Range(1, 10000));
  app->add_option("--warmup", flags->warmup, "steps before them (default 5)")
      ->check(CLI::Range(1, 1000));
  app->add_option("--timeout", flags->timeout_s, "seconds that one case may take (default 300)")
      ->check(CLI::PositiveNumber);
  AddJsonFlag(app, &flags->json_path);
}

int RunDecodeBench(const DecodeBenchFlags& flags, int* argc, char*** argv) {
  std::vector<std::string> problems;
  const ServeConfig config = ResolveServeFlags(flags.serve, &problems);
  for (const std::string& problem : problems) std::cerr << "tamis: " << problem << std::endl;
  if (!problems.empty()) return 2;
  const MpiEnv env(argc, argv);
  return ExitCodeOf(RunRank(flags, config, env));
}

}  // namespace tamis
