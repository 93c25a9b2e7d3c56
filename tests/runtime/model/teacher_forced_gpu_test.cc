// SPDX-License-Identifier: Apache-2.0
// SmolLM2 in bfloat16 on a GPU beside float32 on the CPU, teacher-forced: how often both think the
// same token likeliest. transformers_agreement.py measures the same of transformers on the same
// tokens.
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <thread>

#include "gtest/gtest.h"
#include "kernels/cpu_threads.h"
#include "parallel/groups.h"
#include "runtime/load/load_model.h"
#include "runtime/model/llama.h"
#include "runtime/model/step_input_buffers.h"
#include "tests/runtime/model/fixtures.h"

namespace tamis {
namespace {

// What transformers reaches, bfloat16 against its float32, on the same tokens
// (transformers_agreement.py, one H100): 0.9673.
constexpr double kAgreementMin = 0.9673;

using Sequences = std::vector<std::vector<int32_t>>;

Sequences ReadSequences() {
  std::ifstream text = OpenFixture("teacher_forced.txt");
  CHECK(Expect(text, "sequences"));
  int count = 0;
  text >> count;
  Sequences sequences;
  for (int i = 0; i < count; ++i) sequences.push_back(ReadIntegers(text, "tokens"));
  return sequences;
}

// One sequence as one prefill chunk, all of whose logits are wanted.
HostStep Prefill(const std::vector<int32_t>& tokens) {
  const size_t count = tokens.size();
  HostStep step;
  step.token_ids = tokens;
  step.from_slot.assign(count, -1);
  step.positions.resize(count);
  std::iota(step.positions.begin(), step.positions.end(), 0);
  step.prefill_query_starts = {0, static_cast<int32_t>(count)};
  step.prefill_context_lens = {static_cast<int32_t>(count)};
  step.groups = {{step.positions, {0}}};
  step.logit_rows = step.positions;
  step.sample_slots.assign(count, -1);
  step.temperature.assign(count, 0.0f);
  step.top_k.assign(count, 0);
  step.top_p.assign(count, 1.0f);
  step.min_p.assign(count, 0.0f);
  step.seed.assign(count, 0);
  step.sample_position.assign(count, 0);
  return step;
}

// The likeliest token after every position of every sequence.
Sequences Likeliest(const char* path, const Sequences& sequences, DType dtype, DeviceKind device) {
  auto files = OpenModel(path, LoadFormat::kAuto, 0);
  CHECK(files.ok()) << files.status().ToString();
  const ModelConfig& model = (*files)->config();
  const ModelShard shard = ShardModel(model.num_q_heads, model.num_kv_heads, model.ffn_size,
                                      model.vocab_size, 0, 1);
  ModelWeights weights = AllocateWeights(model, shard, dtype, device);
  const absl::Status loaded = (*files)->Load(shard, weights, [](uint64_t, uint64_t) {});
  CHECK(loaded.ok()) << loaded.ToString();
  const auto rows = static_cast<int64_t>(sequences[0].size());
  const StepLimits limits{rows, rows, rows, 0, rows};
  const KvCache kv(model, shard, {rows, 1, dtype}, DenseLayerGroups(model.num_layers), device);
  Activations act = AllocateActivations(model, shard, dtype, device, limits);
  Scratch scratch(
      Buffer(MemoryOf(device), ScratchBytes(model, shard, dtype, device, limits), "scratch"));
  StepInputBuffers inputs(limits, 1, rows, device);
  const Stream stream = device == DeviceKind::kCpu ? Stream::Cpu() : Stream::Cuda();
  Group group = MakeSelfGroup();
  const LlamaContext context{model, shard, weights, kv, act, *group.collectives, scratch, stream};
  Sequences likeliest;
  for (const std::vector<int32_t>& tokens : sequences) {
    const StepInputs& step = inputs.Upload(Prefill(tokens), stream);
    Forward(context, step);
    SampleStep(context, step);
    std::vector<int32_t>& out = likeliest.emplace_back(tokens.size());
    CopyBytes(out.data(), DeviceKind::kCpu, act.sampled.data, device, out.size() * sizeof(int32_t),
              stream);
    stream.Synchronize();
  }
  return likeliest;
}

double Agreement(const Sequences& a, const Sequences& b) {
  int64_t same = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t t = 0; t < a[i].size(); ++t, ++all) same += a[i][t] == b[i][t] ? 1 : 0;
  }
  return static_cast<double>(same) / static_cast<double>(all);
}

TEST(TeacherForcedGpuTest, TheGpuAgreesWithTheCpu) {
  const char* path = std::getenv("TAMIS_TEST_MODEL");
  if (path == nullptr) {
    GTEST_SKIP() << "TAMIS_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  SetCpuMathThreads(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  const Sequences sequences = ReadSequences();
  ASSERT_EQ(sequences.size(), 50u);
  ASSERT_EQ(sequences[0].size(), 128u);
  const Sequences cpu = Likeliest(path, sequences, DType::kF32, DeviceKind::kCpu);
  const double f32 =
      Agreement(cpu, Likeliest(path, sequences, DType::kF32, DeviceKind::kCuda));
  const double bf16 =
      Agreement(cpu, Likeliest(path, sequences, DType::kBF16, DeviceKind::kCuda));
  std::cout << "top-1 agreement with float32 on the CPU over 50 x 128 tokens: float32 on the GPU "
            << f32 << ", bfloat16 on the GPU " << bf16 << std::endl;
  EXPECT_GT(f32, 0.999);
  EXPECT_GT(bf16, kAgreementMin);
}

}  // namespace
}  // namespace tamis
