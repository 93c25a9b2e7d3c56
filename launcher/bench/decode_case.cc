// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/decode_case.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "kernels/check.h"
#include "runtime/model/weights.h"

namespace tamis {
namespace {

constexpr int64_t kBatchMax = 4096;
constexpr int64_t kContextMax = 1 << 24;

}  // namespace

absl::StatusOr<std::vector<DecodeCase>> ParseDecodeCases(const std::string& text) {
  std::vector<DecodeCase> cases;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    const std::vector<std::string> numbers = absl::StrSplit(part, 'x');
    DecodeCase one;
    bool good = numbers.size() == 2 && absl::SimpleAtoi(numbers[0], &one.batch);
    if (good) {
      absl::string_view context = numbers[1];
      const int64_t unit = absl::ConsumeSuffix(&context, "K") ? 1024 : 1;
      good = absl::SimpleAtoi(context, &one.context) && one.context <= kContextMax;
      one.context *= unit;
    }
    if (!good || one.batch < 1 || one.batch > kBatchMax || one.context < 1 ||
        one.context > kContextMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--cases: \"", part, "\"; allowed is BATCHxCONTEXT, as 1x131072 or 8x32K, ",
          "with a batch in [1, ", kBatchMax, "] and a context in [1, ", kContextMax, "]"));
    }
    cases.push_back(one);
  }
  return cases;
}

StepBytes CountStepBytes(const ModelConfig& model, const ModelShard& shard, DType dtype,
                         const SelectionLayers& layers, int64_t batch, double context,
                         double attended) {
  const double element = static_cast<double>(DTypeBytes(dtype));
  StepBytes bytes;
  bytes.weights = static_cast<double>(WeightBytes(model, shard, dtype));
  if (!model.tied_embeddings) {
    bytes.weights -= element * static_cast<double>(shard.vocab.count * model.hidden_size);
  }
  const double token_layer =
      element * static_cast<double>(2 * shard.heads.kv_heads.count * model.head_dim);
  const bool keys_alone = layers.config.filter_attends == FilterAttends::kSelected;
  for (const LayerRole role : layers.roles) {
    double tokens = context;
    if (role == LayerRole::kSparse && attended > 0) tokens = attended;
    if (role == LayerRole::kFilter && attended > 0 && keys_alone) {
      tokens = (context + attended) / 2;
    }
    bytes.kv += static_cast<double>(batch) * token_layer * tokens;
  }
  return bytes;
}

double Quantile(std::vector<double> values, double part) {
  CHECK(!values.empty() && part >= 0 && part <= 1);
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace tamis
