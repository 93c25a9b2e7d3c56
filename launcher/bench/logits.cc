// SPDX-License-Identifier: Apache-2.0
// Rank 0 plans the steps itself instead of a scheduler: all sequences side by side, first chunks of
// prefill, then decoding steps of tokens that are known ("replay"), with logits after each.
#include "launcher/bench/logits.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launcher/bench/common.h"
#include "launcher/choose_device.h"
#include "launcher/load_rank.h"
#include "launcher/size_cache.h"
#include "parallel/groups.h"
#include "runtime/engine/engine.h"
#include "runtime/status_macros.h"
#include "spdlog/spdlog.h"

namespace tamis {
namespace {

using Sequences = std::vector<std::vector<int32_t>>;

absl::StatusOr<Sequences> ReadSequences(const LogitsFlags& flags) {
  const auto bad = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("--tokens: ", flags.tokens_path, parts...));
  };
  std::ifstream file(flags.tokens_path);
  if (!file.is_open()) return bad(" cannot be read");
  Sequences sequences;
  for (std::string line; std::getline(file, line);) {
    std::vector<int32_t>& ids = sequences.emplace_back();
    for (const auto& part : absl::StrSplit(line, ',')) {
      if (!absl::SimpleAtoi(part, &ids.emplace_back())) {
        return bad(", line ", sequences.size(), ": \"", part, "\" is not a token id");
      }
    }
    if (ids.size() != sequences[0].size()) {
      return bad(", line ", sequences.size(), ": ", ids.size(), " tokens; allowed are ",
                 sequences[0].size(), ", as in the first line");
    }
  }
  if (sequences.empty()) return bad(" is empty");
  if (static_cast<int64_t>(sequences[0].size()) <= flags.decode_tokens) {
    return bad(": ", sequences[0].size(), " tokens a line; allowed are more than --decode-tokens (",
               flags.decode_tokens, ")");
  }
  return sequences;
}

absl::Status CheckIds(const Sequences& sequences, int64_t vocab_size) {
  for (const std::vector<int32_t>& ids : sequences) {
    for (const int32_t id : ids) {
      if (id >= 0 && id < vocab_size) continue;
      return absl::InvalidArgumentError(absl::StrCat("--tokens: ", id, "; allowed is [0, ",
                                                     vocab_size, "), the model's vocabulary"));
    }
  }
  return absl::OkStatus();
}

// Room for exactly these sequences; everything is decoded densely.
ServeConfig Fit(ServeConfig config, const Sequences& sequences, const LogitsFlags& flags,
                DeviceKind device) {
  const auto count = static_cast<int64_t>(sequences.size());
  const auto length = static_cast<int64_t>(sequences[0].size());
  config.model.max_model_len = length;
  config.schedule.max_num_seqs = count;
  config.schedule.max_num_batched_tokens = count * flags.chunk_tokens;
  config.cache.block_size = BlockTokens(config, device);
  const int64_t blocks = (length + config.cache.block_size - 1) / config.cache.block_size;
  config.cache.num_blocks = count * blocks;
  config.selection = {};
  return config;
}

// Rank 0's part.
class LogitsRun {
 public:
  LogitsRun(const Sequences& sequences, Control& control, LoadedRank& rank, std::ostream& out)
      : sequences_(sequences),
        control_(control),
        rank_(rank),
        out_(out),
        stream_(rank.device.kind == DeviceKind::kCuda ? Stream::Cuda() : Stream::Cpu()) {
    const SchedulerConfig& limits = rank.scheduler;
    const int64_t blocks = (limits.max_model_len + limits.block_tokens - 1) / limits.block_tokens;
    for (int64_t slot = 0; slot < static_cast<int64_t>(sequences.size()); ++slot) {
      plan_.grants.push_back({static_cast<int32_t>(slot), static_cast<int32_t>(blocks)});
      for (int64_t i = 0; i < blocks; ++i) {
        plan_.block_ids.push_back(static_cast<int32_t>(slot * blocks + i));
      }
    }
  }

  void Step(int64_t position, int64_t num_tokens, bool is_decode) {
    plan_.kind = PlanKind::kRun;
    for (size_t slot = 0; slot < sequences_.size(); ++slot) {
      PlanSequence part;
      part.slot = static_cast<int32_t>(slot);
      part.position = static_cast<int32_t>(position);
      part.num_tokens = static_cast<int32_t>(num_tokens);
      part.is_decode = part.is_replay = is_decode;
      part.samples = true;
      plan_.sequences.push_back(part);
      const auto first = sequences_[slot].begin() + position;
      plan_.token_ids.insert(plan_.token_ids.end(), first, first + num_tokens);
    }
    Run();
    Write();
  }

  void End() {
    plan_.kind = PlanKind::kShutdown;
    Run();
  }

  int64_t num_rows() const { return num_rows_; }

 private:
  void Run() {
    EncodeStepPlan(plan_, &bytes_);
    control_.Broadcast(&bytes_);
    rank_.worker->Launch(plan_);
    StepPlan next;
    next.step_id = plan_.step_id + 1;
    if (plan_.kind == PlanKind::kRun) {
      const StepResult result = rank_.worker->Wait();
      next.confirmed_step = plan_.step_id;
      for (size_t row = 0; row < result.tokens.size(); ++row) {
        next.confirmed.push_back({static_cast<int32_t>(row), result.tokens[row]});
      }
    }
    plan_ = std::move(next);
  }

  void Write() {
    const auto rows = static_cast<int64_t>(sequences_.size());
    const TensorView logits = Rows(rank_.worker->logits(), 0, rows);
    host_.resize(static_cast<size_t>(logits.elements()));
    CopyBytes(host_.data(), DeviceKind::kCpu, logits.data, logits.device, logits.bytes(), stream_);
    stream_.Synchronize();
    out_.write(reinterpret_cast<const char*>(host_.data()),
               static_cast<std::streamsize>(host_.size() * sizeof(float)));
    num_rows_ += rows;
  }

  const Sequences& sequences_;
  Control& control_;
  LoadedRank& rank_;
  std::ostream& out_;
  Stream stream_;
  StepPlan plan_;  // the next one
  std::string bytes_;
  std::vector<float> host_;
  int64_t num_rows_ = 0;
};

absl::Status CannotWrite(const LogitsFlags& flags) {
  return absl::UnavailableError(absl::StrCat("--out: cannot write ", flags.out_path));
}

absl::Status Lead(const LogitsFlags& flags, const Sequences& sequences, Control& control,
                  LoadedRank& rank, std::ofstream& out) {
  LogitsRun run(sequences, control, rank, out);
  const auto length = static_cast<int64_t>(sequences[0].size());
  const int64_t prefill = length - flags.decode_tokens;
  for (int64_t at = 0; at < prefill; at += flags.chunk_tokens) {
    run.Step(at, std::min(flags.chunk_tokens, prefill - at), false);
  }
  for (int64_t at = prefill; at < length; ++at) run.Step(at, 1, true);
  run.End();
  out.close();
  if (out.fail()) return CannotWrite(flags);
  std::cout << run.num_rows() << " rows of " << rank.model.vocab_size << " logits from "
            << control.size() << " rank(s), " << rank.device.name << ", " << DTypeName(rank.dtype)
            << "; " << rank.worker->num_graph_steps() << " of " << flags.decode_tokens
            << " decoding steps as CUDA graphs" << std::endl;
  return absl::OkStatus();
}

absl::Status RunRank(const LogitsFlags& flags, const ServeConfig& config, const MpiEnv& env) {
  if (config.selection.enabled()) {
    return absl::InvalidArgumentError(
        "--selection-filter-layers: everything is decoded densely here; leave it out");
  }
  TAMIS_ASSIGN_OR_RETURN(const Sequences sequences, ReadSequences(flags));
  TAMIS_ASSIGN_OR_RETURN(const ChosenDevice device, ChooseDevice(config, env.world()));
  Group group = env.initialised() ? MakeMpiGroup(env) : MakeSelfGroup();
  group.control->set_timeout(
      std::chrono::milliseconds(static_cast<int64_t>(config.timeouts.startup_s * 1000)));
  std::ofstream out;  // rank 0's
  LoadHooks hooks;
  hooks.before_weights = [&] {
    if (env.world().rank != 0) return absl::OkStatus();
    out.open(flags.out_path, std::ios::binary);
    return out.is_open() ? absl::OkStatus() : CannotWrite(flags);
  };
  TAMIS_ASSIGN_OR_RETURN(LoadedRank rank, LoadRank(Fit(config, sequences, flags, device.kind),
                                                   env.world(), group, hooks));
  TAMIS_RETURN_IF_ERROR(CheckIds(sequences, rank.model.vocab_size));
  if (env.world().rank == 0) return Lead(flags, sequences, *group.control, rank, out);
  FollowLeader(*group.control, *rank.worker);
  return absl::OkStatus();
}

}  // namespace

void AddLogitsBench(CLI::App* app, LogitsFlags* flags) {
  AddModelFlags(app, &flags->serve);
  app->add_option("--tokens", flags->tokens_path,
                  "a file with a sequence a line, all of one length: token ids with commas")
      ->required();
  app->add_option("--chunk-tokens", flags->chunk_tokens,
                  "tokens of each sequence that one step prefills (default 64)")
      ->check(CLI::Range(1, 1 << 16));
  app->add_option("--decode-tokens", flags->decode_tokens,
                  "last tokens of each sequence, decoded one by one (default 16)")
      ->check(CLI::Range(0, 1 << 16));
  app->add_option("--out", flags->out_path,
                  "a file that gets the logits after each chunk and each decoded token, of all "
                  "sequences: float32 [steps, sequences, vocabulary]")
      ->required();
}

int RunLogitsBench(const LogitsFlags& flags, int* argc, char*** argv) {
  std::vector<std::string> problems;
  const ServeConfig config = ResolveServeFlags(flags.serve, &problems);
  for (const std::string& problem : problems) std::cerr << "tamis: " << problem << std::endl;
  if (!problems.empty()) return 2;
  spdlog::set_level(spdlog::level::warn);
  const MpiEnv env(argc, argv);
  return ExitCodeOf(RunRank(flags, config, env));
}

}  // namespace tamis
