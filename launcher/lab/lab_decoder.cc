// SPDX-License-Identifier: Apache-2.0
#include "launcher/lab/lab_decoder.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

SelectionLimits LimitsOf(const Lab& lab, const SelectionConfig& config) {
  if (!config.enabled()) return {};
  return {lab.limits().context_len_max, config.scope, config.score};
}

}  // namespace

SelectionLayers LabLayers(const SelectionConfig& config, int64_t num_layers) {
  SelectionLayers layers = MakeSelectionLayers(config, num_layers);
  for (int& group : layers.segment_group) group = std::min(group, 0);
  layers.groups = DenseLayerGroups(num_layers);
  return layers;
}

LabDecoder::LabDecoder(Lab& lab, SelectionLayers layers, int64_t rows_max, bool copy_logits,
                       SelectionObserver observer)
    : lab_(lab),
      layers_(std::move(layers)),
      observer_(std::move(observer)),
      copy_logits_(copy_logits),
      limits_(LabStepLimits(lab, rows_max, rows_max, LimitsOf(lab, layers_.config))),
      act_(AllocateActivations(lab.model(), lab.shard(), DType::kF32, lab.device(), limits_)),
      scratch_(MakeLabScratch(lab, limits_)),
      inputs_(limits_, 1, lab.limits().block_tokens, lab.device()),
      done_(lab.device()) {
  step_.groups.resize(1);
  for (int i = 0; i < 2; ++i) {
    if (copy_logits) logits_.emplace_back(MemoryKind::kPinned, act_.logits.bytes(), "lab logits");
    greedy_.emplace_back(MemoryKind::kPinned, act_.sampled.bytes(), "lab tokens");
  }
}

LlamaContext LabDecoder::context() {
  return {lab_.model(),       lab_.shard(), lab_.weights(), lab_.kv(),
          act_,               lab_.collectives(), scratch_,  lab_.stream(),
          &layers_,           observer_ ? &observer_ : nullptr};
}

void LabDecoder::Build(std::span<const LabDecodeRow> rows) {
  step_.Clear();
  for (const LabDecodeRow& row : rows) {
    LabSequence& sequence = *row.sequence;
    lab_.Reserve(sequence, sequence.num_cached + 1);
    step_.logit_rows.push_back(static_cast<int32_t>(step_.token_ids.size()));
    lab_.AppendRows(sequence, std::span(&row.token, 1), step_, inputs_.blocks_max());
    ++sequence.num_cached;
    step_.decode_context_lens.push_back(static_cast<int32_t>(sequence.num_cached));
    step_.sample_position.push_back(static_cast<int32_t>(sequence.num_cached));
    step_.selection.push_back(row.plan);
  }
  step_.sample_slots.assign(rows.size(), -1);
  step_.temperature.assign(rows.size(), 0.0f);
  step_.top_k.assign(rows.size(), 0);
  step_.top_p.assign(rows.size(), 1.0f);
  step_.min_p.assign(rows.size(), 0.0f);
  step_.seed.assign(rows.size(), 0);
}

void LabDecoder::Launch(std::span<const LabDecodeRow> rows) {
  Build(rows);
  const Stream& stream = lab_.stream();
  current_ = &inputs_.Upload(step_, stream);
  Forward(context(), *current_);
  SampleStep(context(), *current_);
  turn_ = 1 - turn_;
  const auto copy = [&](const Buffer& to, const TensorView& from) {
    const TensorView used = Rows(from, 0, static_cast<int64_t>(rows.size()));
    CopyBytes(to.data(), DeviceKind::kCpu, used.data, used.device, used.bytes(), stream);
  };
  if (copy_logits_) copy(logits_[turn_], act_.logits);
  copy(greedy_[turn_], act_.sampled);
  done_.Record(stream);
}

DecodeResult LabDecoder::Wait() {
  CHECK(current_ != nullptr) << "nothing was launched";
  done_.Wait();
  const auto rows = static_cast<size_t>(current_->num_logit_rows);
  DecodeResult result;
  result.greedy = {static_cast<const int32_t*>(greedy_[turn_].data()), rows};
  if (copy_logits_) {
    result.logits = {static_cast<const float*>(logits_[turn_].data()),
                     rows * static_cast<size_t>(lab_.model().vocab_size)};
  }
  return result;
}

}  // namespace tamis
