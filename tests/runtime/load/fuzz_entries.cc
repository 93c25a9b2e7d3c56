// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/load/fuzz_entries.h"

#include "runtime/load/formats.h"
#include "runtime/load/gguf.h"
#include "runtime/load/safetensors.h"

namespace tamis {
namespace {

// Above this a mutated size would make an honest, but slow, allocation.
constexpr size_t kWeightBytesMax = size_t{1} << 20;

void ReadEveryWay(const GgufFile& file, const char* key) {
  (void)file.GetString(key).ok();
  (void)file.GetUint(key).ok();
  (void)file.GetInt(key).ok();
  (void)file.GetFloat(key).ok();
  (void)file.GetBool(key).ok();
  (void)file.GetStringArray(key).ok();
  (void)file.GetInt32Array(key).ok();
  (void)file.GetFloatArray(key).ok();
}

}  // namespace

FuzzDepth FuzzGguf(std::span<const std::byte> bytes) {
  absl::StatusOr<GgufFile> file = GgufFile::Parse(bytes, "fuzz.gguf");
  if (!file.ok()) return FuzzDepth::kRefused;
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                          "tokenizer.ggml.scores", "general.name", "general.alignment"}) {
    ReadEveryWay(*file, key);
  }
  absl::StatusOr<std::unique_ptr<ModelFiles>> model = GgufModel(*std::move(file));
  if (!model.ok()) return FuzzDepth::kParsed;
  const ModelConfig& config = (*model)->config();
  const bool splits =
      ShardProblem(config.num_q_heads, config.num_kv_heads, config.ffn_size, config.vocab_size, 2)
          .empty();
  const ModelShard shard = ShardModel(config.num_q_heads, config.num_kv_heads, config.ffn_size,
                                      config.vocab_size, 0, splits ? 2 : 1);
  if (WeightBytes(config, shard, DType::kF32) > kWeightBytesMax) return FuzzDepth::kParsed;
  ModelWeights weights = AllocateWeights(config, shard, DType::kF32, DeviceKind::kCpu);
  return (*model)->Load(shard, weights, nullptr).ok() ? FuzzDepth::kLoaded : FuzzDepth::kParsed;
}

FuzzDepth FuzzSafetensors(std::span<const std::byte> bytes) {
  const auto entries = ParseSafetensors(bytes, "fuzz.safetensors");
  if (!entries.ok()) return FuzzDepth::kRefused;
  int sum = 0;
  for (const SafetensorsEntry& entry : *entries) {
    if (entry.data.empty()) continue;
    sum += std::to_integer<int>(entry.data.front()) + std::to_integer<int>(entry.data.back());
  }
  return sum >= 0 ? FuzzDepth::kLoaded : FuzzDepth::kParsed;
}

}  // namespace tamis
