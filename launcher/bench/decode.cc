// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/decode.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/bench/read_ceiling.h"
#include "kernels/cpu_threads.h"
#include "launcher/bench/break_even.h"
#include "launcher/bench/collective_latencies.h"
#include "launcher/bench/common.h"
#include "launcher/bench/decode_case.h"
#include "launcher/bench/decode_rank.h"
#include "launcher/bench/decode_report.h"
#include "launcher/bench/engine_steps.h"
#include "parallel/cuda_group.h"
#include "parallel/groups.h"
#include "parallel/simulated_collectives.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/step_graphs.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

// What a sequence selects at such a step; k = 0: it decodes densely.
SelectionPlan PlanAt(const DecodeRank& rank, SelectionMode mode, double mean_context) {
  const SelectionConfig& config = rank.layers.config;
  if (!config.enabled()) return {};
  const auto tokens = static_cast<int64_t>(mean_context);
  return PlanSelection(config, mode, config.budget, tokens, tokens - 1);
}

// What the collectives of a step take, from the table.
absl::StatusOr<SimulatedCalls> Simulate(const CollectiveLatencies& table, const DecodeRank& rank,
                                        const DecodeCase& what, const SelectionPlan& plan) {
  const int64_t k_limit = StepLimitsOf(rank.scheduler).selection.k_max;
  const int64_t k_max = plan.sparse() ? SelectionBucket(plan.k, k_limit) : 0;
  const int64_t rows = DecodeBucket(what.batch, rank.scheduler.max_num_seqs);
  SimulatedCalls simulated;
  simulated.calls = CollectivesOfStep(rank.model, rank.shard, rank.dtype, rank.layers, rows, k_max,
                                      rank.scheduler.max_model_len);
  for (const StepCollective& call : simulated.calls) {
    TAMIS_ASSIGN_OR_RETURN(const double us,
                           table.Microseconds(call.name, rank.shard.size, call.bytes));
    simulated.us.push_back(us);
  }
  return simulated;
}

// One rank's part in the run.
struct Bench {
  const DecodeBenchFlags& flags;
  std::vector<DecodeCase> cases;
  std::optional<CollectiveLatencies> latencies;  // where collectives are simulated
  DecodeRank rank;
  double ceiling = 0;  // bytes per second
};

absl::StatusOr<DecodeRow> RunCase(const Bench& bench, const DecodeCase& what, SelectionMode mode,
                                  Engine& engine, StepGate& gate) {
  const DecodeRank& rank = bench.rank;
  const StepRun run{what.batch,
                    what.context,
                    bench.flags.warmup,
                    bench.flags.steps,
                    mode,
                    rank.model.vocab_size,
                    std::chrono::duration<double>(bench.flags.timeout_s)};
  DecodeRow row;
  row.what = what;
  row.asked = mode;
  TAMIS_ASSIGN_OR_RETURN(row.times, TimeDecodeSteps(engine, *rank.worker, gate, run));
  const double context = row.times.mean_context;
  const SelectionPlan plan = PlanAt(rank, mode, context);
  row.sparse = plan.sparse();
  const double attended = row.sparse ? plan.sink_end + plan.k + context - plan.tail_begin : 0;
  row.bytes = CountStepBytes(rank.model, rank.shard, rank.dtype, rank.layers, what.batch, context,
                             attended);
  if (bench.latencies) {
    TAMIS_ASSIGN_OR_RETURN(row.simulated, Simulate(*bench.latencies, rank, what, plan));
  }
  return row;
}

absl::Status Report(const Bench& bench, const std::vector<DecodeRow>& rows) {
  nlohmann::json json = {{"device", bench.rank.device.name},
                         {"dtype", DTypeName(bench.rank.dtype)},
                         {"rank", bench.rank.shard.rank},
                         {"ranks", bench.rank.shard.size},
                         {"simulated", bench.latencies.has_value()},
                         {"read_ceiling_bytes_per_s", bench.ceiling},
                         {"rows", nlohmann::json::array()}};
  for (const DecodeRow& row : rows) json["rows"].push_back(ToJson(row, bench.ceiling));
  if (bench.flags.break_even) {
    const std::vector<BreakEvenPoint> points = BreakEvenPoints(rows);
    const int64_t min_context = bench.rank.layers.config.min_context;
    PrintBreakEven(points, min_context);
    json["break_even"] = BreakEvenJson(points, min_context);
  }
  return WriteBenchJson(bench.flags.json_path, "decode", std::move(json));
}

std::vector<SelectionMode> ModesOf(const Bench& bench) {
  if (!bench.rank.layers.config.enabled()) return {SelectionMode::kOff};
  if (!bench.flags.break_even) return {SelectionMode::kOff, SelectionMode::kAuto};
  return {SelectionMode::kOff, SelectionMode::kOn, SelectionMode::kAuto};
}

// Rank 0: all cases, one after the other, while the engine runs on the calling thread.
absl::Status Lead(Bench& bench, Control& control) {
  StepGate gate;
  StepHooks hooks;
  hooks.begin = [&gate](const StepPlan&) { gate.Wait(); };
  Engine engine(bench.rank.scheduler, control, *bench.rank.worker, hooks);
  std::vector<DecodeRow> rows;
  absl::Status status;
  PrintHeading(bench.rank, bench.ceiling, bench.latencies.has_value());
  const auto measure = [&]() -> absl::Status {
    for (const DecodeCase& what : bench.cases) {
      for (const SelectionMode mode : ModesOf(bench)) {
        TAMIS_ASSIGN_OR_RETURN(DecodeRow row, RunCase(bench, what, mode, engine, gate));
        PrintRow(row, bench.ceiling);
        rows.push_back(std::move(row));
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
  return Report(bench, rows);
}

absl::StatusOr<std::vector<DecodeCase>> CasesOf(const DecodeBenchFlags& flags,
                                                const ServeConfig& config) {
  if (!flags.break_even) return ParseDecodeCases(flags.cases);
  if (config.selection.enabled()) return BreakEvenCases();
  return absl::InvalidArgumentError("--break-even: needs --selection-filter-layers");
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

// "0/8": the first rank of eight.
absl::Status ParseSimulatedRank(const DecodeBenchFlags& flags, const World& world, int* rank,
                                int* ranks) {
  const std::vector<std::string> parts = absl::StrSplit(flags.simulate_rank, '/');
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], rank) ||
      !absl::SimpleAtoi(parts[1], ranks) || *rank < 0 || *rank >= *ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("--simulate-rank: \"", flags.simulate_rank,
                     "\"; allowed is RANK/RANKS, as 0/8, with RANK in [0, RANKS)"));
  }
  if (world.size > 1) {
    return absl::InvalidArgumentError("--simulate-rank: needs a single rank, without mpirun");
  }
  if (flags.latencies_path.empty()) {
    return absl::InvalidArgumentError(
        "--collective-latencies: not given, and --simulate-rank needs it");
  }
  return absl::OkStatus();
}

absl::StatusOr<Group> MakeGroup(const DecodeBenchFlags& flags, const MpiEnv& env,
                                DeviceKind device) {
  Group group = env.initialised() ? MakeMpiGroup(env) : MakeSelfGroup();
  if (!flags.simulate_rank.empty()) {
    int rank = 0, ranks = 1;
    TAMIS_RETURN_IF_ERROR(ParseSimulatedRank(flags, env.world(), &rank, &ranks));
    group.collectives = std::make_unique<SimulatedCollectives>(rank, ranks);
  } else if (device == DeviceKind::kCuda) {
    group = OnCuda(std::move(group));
  }
  return group;
}

absl::Status RunRank(const DecodeBenchFlags& flags, const ServeConfig& config, const MpiEnv& env) {
  Bench bench{flags, {}, {}, {}, 0};
  TAMIS_ASSIGN_OR_RETURN(bench.cases, CasesOf(flags, config));
  TAMIS_RETURN_IF_ERROR(CheckContexts(flags, bench.cases));
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = config.ranks.cpu_threads > 0 ? static_cast<int>(config.ranks.cpu_threads)
                                                   : std::max(1, cores / env.world().local_size);
  SetCpuMathThreads(threads);
  TAMIS_ASSIGN_OR_RETURN(ChosenDevice device, ChooseDevice(config, env.world()));
  TAMIS_ASSIGN_OR_RETURN(Group group, MakeGroup(flags, env, device.kind));
  CountSharers(*group.control, &device);
  if (!flags.simulate_rank.empty()) {
    TAMIS_ASSIGN_OR_RETURN(bench.latencies, CollectiveLatencies::Read(flags.latencies_path));
  }
  // On a GPU first: later there is no room to read from.
  const bool cuda = device.kind == DeviceKind::kCuda;
  if (cuda) bench.ceiling = bench::ReadCeiling(device.kind, threads);
  TAMIS_ASSIGN_OR_RETURN(bench.rank, MakeDecodeRank(config, bench.cases, env.world(), device,
                                                    *group.control, *group.collectives));
  if (!cuda) bench.ceiling = bench::ReadCeiling(device.kind, threads);
  if (env.world().rank == 0) return Lead(bench, *group.control);
  FollowLeader(*group.control, *bench.rank.worker);
  return absl::OkStatus();
}

}  // namespace

void AddDecodeBench(CLI::App* app, DecodeBenchFlags* flags) {
  AddModelFlags(app, &flags->serve);
  CLI::Option* cases =
      app->add_option("--cases", flags->cases,
                      "BATCHxCONTEXT, separated by commas, as 1x131072 or 8x32K (default 1x1024)");
  app->add_flag("--break-even", flags->break_even,
                "instead of --cases: one sequence of 1K to 64K tokens, dense, sparse and auto, and "
                "the --selection-min-context that follows")
      ->excludes(cases);
  app->add_option("--steps", flags->steps, "steps that count, of each case (default 30)")
      ->check(CLI::Range(1, 10000));
  app->add_option("--warmup", flags->warmup, "steps before them (default 5)")
      ->check(CLI::Range(1, 1000));
  app->add_option("--timeout", flags->timeout_s, "seconds that one case may take (default 300)")
      ->check(CLI::PositiveNumber);
  app->add_option("--simulate-rank", flags->simulate_rank,
                  "RANK/RANKS: that rank's share alone, as 0/8; its collectives' time comes from "
                  "--collective-latencies");
  app->add_option("--collective-latencies", flags->latencies_path,
                  "a table of latencies, as bench/collective_latencies.txt");
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
