// SPDX-License-Identifier: Apache-2.0
// Times decode steps and prefill of a model of SmolLM2-135M's shape with random float32 weights, on
// CPU ranks: threads (step_bench RANKS) or processes (mpirun -n RANKS step_bench). The ceiling is
// reading this rank's weights once per step, measured as a sum over them.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <vector>

#include "kernels/cpu_threads.h"
#include "parallel/groups.h"
#include "runtime/model/llama.h"
#include "runtime/model/step_input_buffers.h"

namespace tamis {
namespace {

constexpr int64_t kBlockTokens = 16;
constexpr int64_t kContextMax = 1024;
constexpr int64_t kPrefillTokens = 1000;
constexpr int64_t kChunkTokens = 512;
constexpr int64_t kBatchMax = 16;
constexpr int64_t kBlocksEach = kContextMax / kBlockTokens;
constexpr StepLimits kLimits{kChunkTokens, kBatchMax, kBatchMax, 0, kContextMax};

ModelConfig SmolLm2Shape() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = 576;
  config.num_layers = 30;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  config.ffn_size = 1536;
  config.vocab_size = 49152;
  config.max_positions = 8192;
  config.rope.theta = 1e5;
  config.tied_embeddings = true;
  return config;
}

struct Took {
  double wall_ms = 0.0;
  double cpu_ms = 0.0;  // of the calling thread: what it computes, without waiting for others
};

double ThreadCpuMs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// Runs body `repeats` times after one for warming up; medians.
template <typename Body>
Took MedianOf(int repeats, const Body& body) {
  body();
  std::vector<double> wall, cpu;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const double cpu_begin = ThreadCpuMs();
    body();
    cpu.push_back(ThreadCpuMs() - cpu_begin);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    wall.push_back(took.count());
  }
  const auto median = [repeats](std::vector<double>& ms) {
    std::nth_element(ms.begin(), ms.begin() + repeats / 2, ms.end());
    return ms[static_cast<size_t>(repeats / 2)];
  };
  return {median(wall), median(cpu)};
}

class StepBench {
 public:
  StepBench(int rank, Group& group)
      : config_(SmolLm2Shape()),
        shard_(ShardModel(config_.num_q_heads, config_.num_kv_heads, config_.ffn_size,
                          config_.vocab_size, rank, group.collectives->size())),
        group_(group),
        weights_(AllocateWeights(config_, shard_, DType::kF32, DeviceKind::kCpu)),
        kv_(config_, shard_, {kBlockTokens, kBatchMax * kBlocksEach, DType::kF32},
            DenseLayerGroups(config_.num_layers), DeviceKind::kCpu),
        act_(AllocateActivations(config_, shard_, DType::kF32, DeviceKind::kCpu, kLimits)),
        scratch_(Buffer(MemoryKind::kCpu,
                        ScratchBytes(config_, shard_, DType::kF32, DeviceKind::kCpu, kLimits),
                        "scratch")),
        buffers_(kLimits, 1, kBlockTokens, DeviceKind::kCpu) {
    step_.groups.resize(1);
    FillDummyWeights(config_, shard_, 1, weights_, stream_);
  }

  void Report() {
    if (shard_.rank == 0) std::cout << std::string(40, ' ') << "   wall ms    cpu ms\n";
    const Took floor = MedianOf(9, [&] { SumWeights(); });
    Line("read this rank's weights once", floor);
    for (int64_t context : {int64_t{128}, kContextMax}) {
      for (int64_t batch : {int64_t{1}, kBatchMax}) {
        const Took took = MedianOf(9, [&] { Decode(batch, context); });
        Line("decode step, batch " + std::to_string(batch) + ", context " + std::to_string(context),
             took, floor.cpu_ms);
      }
    }
    Line("prefill of " + std::to_string(kPrefillTokens) + " tokens",
         MedianOf(1, [&] { Prefill(); }));
  }

 private:
  void SumWeights() {
    const float* values = static_cast<const float*>(weights_.buffer.data());
    const size_t count = weights_.buffer.bytes() / sizeof(float);
    constexpr size_t kLanes = 16;
    float sums[kLanes] = {};
    for (size_t i = 0; i + kLanes <= count; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += values[i + lane];
    }
    for (float sum : sums) checksum_ += sum;
  }

  void AddSequence(int64_t slot, int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position) {
      step_.token_ids.push_back(static_cast<int32_t>((position * 7919 + slot) % 49152));
      step_.from_slot.push_back(-1);
      step_.positions.push_back(static_cast<int32_t>(position));
      step_.groups[0].token_slots.push_back(
          static_cast<int32_t>(slot * kBlocksEach * kBlockTokens + position));
    }
    for (int64_t block = 0; block < kBlocksEach; ++block) {
      step_.groups[0].block_table.push_back(static_cast<int32_t>(slot * kBlocksEach + block));
    }
    step_.logit_rows.push_back(static_cast<int32_t>(step_.token_ids.size()) - 1);
    step_.sample_slots.push_back(static_cast<int32_t>(slot));
    step_.temperature.push_back(0.0f);
    step_.top_k.push_back(0);
    step_.top_p.push_back(1.0f);
    step_.min_p.push_back(0.0f);
    step_.seed.push_back(0);
    step_.sample_position.push_back(static_cast<int32_t>(end));
  }

  void Step() {
    const StepInputs& inputs = buffers_.Upload(step_, stream_);
    const LlamaContext context{config_,  shard_, weights_, kv_, act_, *group_.collectives,
                               scratch_, stream_};
    Forward(context, inputs);
    SampleStep(context, inputs);
  }

  void Decode(int64_t batch, int64_t context_len) {
    step_.Clear();
    for (int64_t slot = 0; slot < batch; ++slot) {
      AddSequence(slot, context_len - 1, context_len);
      step_.decode_context_lens.push_back(static_cast<int32_t>(context_len));
    }
    Step();
  }

  void Prefill() {
    for (int64_t begin = 0; begin < kPrefillTokens; begin += kChunkTokens) {
      const int64_t end = std::min(begin + kChunkTokens, kPrefillTokens);
      step_.Clear();
      AddSequence(0, begin, end);
      step_.prefill_query_starts = {0, static_cast<int32_t>(end - begin)};
      step_.prefill_context_lens = {static_cast<int32_t>(end)};
      Step();
    }
  }

  void Line(const std::string& what, const Took& took, double floor_cpu_ms = 0.0) const {
    if (shard_.rank != 0) return;
    std::cout << std::left << std::setw(40) << what << std::right << std::fixed
              << std::setprecision(2) << std::setw(10) << took.wall_ms << std::setw(10)
              << took.cpu_ms;
    if (floor_cpu_ms > 0.0) {
      std::cout << std::setprecision(0) << std::setw(6) << 100.0 * floor_cpu_ms / took.cpu_ms
                << " % of ceiling (cpu)";
    }
    std::cout << std::endl;
  }

  ModelConfig config_;
  ModelShard shard_;
  Group& group_;
  ModelWeights weights_;
  KvCache kv_;
  Activations act_;
  Scratch scratch_;
  StepInputBuffers buffers_;
  HostStep step_;
  Stream stream_ = Stream::Cpu();
  float checksum_ = 0.0f;
};

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) {
  const tamis::MpiEnv env(&argc, &argv);
  tamis::SetCpuMathThreads(1);
  const auto report = [](int rank, tamis::Group& group) { tamis::StepBench(rank, group).Report(); };
  if (env.world().size > 1) {
    tamis::Group group = tamis::MakeMpiGroup(env);
    report(env.world().rank, group);
  } else {
    tamis::RunLoopback(argc > 1 ? std::atoi(argv[1]) : 1, report);
  }
  return 0;
}
