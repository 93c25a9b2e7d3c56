// SPDX-License-Identifier: Apache-2.0
// All layers are run as filter layers that score with the mass of attention; what the layers of the
// real layout would do is then done here, over what the forward pass has put into its activations.
#include "launcher/lab/lab_probe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/check.h"
#include "kernels/ops.h"
#include "kernels/order_key.h"

namespace tamis {
namespace {

constexpr int kPlanColumns = 5;

// Every layer scores with softmax_mean, per KV head.
SelectionLayers AllFilters(int64_t num_layers) {
  SelectionLayers layers;
  layers.config.filter_layers = {0};
  layers.config.score = ScoreKind::kSoftmaxMean;
  layers.config.scope = SelectionScope::kKvHead;
  layers.roles.assign(static_cast<size_t>(num_layers), LayerRole::kFilter);
  layers.segment_group.assign(static_cast<size_t>(num_layers), 0);
  layers.groups = DenseLayerGroups(num_layers);
  return layers;
}

// The first k of [begin, end) in the order of selections, ascending.
void FirstOf(const float* scores, int64_t begin, int64_t end, int64_t k,
             std::vector<int32_t>* positions) {
  positions->resize(static_cast<size_t>(end - begin));
  for (int64_t j = begin; j < end; ++j) {
    (*positions)[static_cast<size_t>(j - begin)] = static_cast<int32_t>(j);
  }
  const auto precedes = [scores](int32_t a, int32_t b) {
    const uint32_t key_a = OrderKey(scores[a]), key_b = OrderKey(scores[b]);
    return key_a != key_b ? key_a > key_b : a < b;
  };
  if (k < end - begin) {
    std::nth_element(positions->begin(), positions->begin() + k, positions->end(), precedes);
    positions->resize(static_cast<size_t>(k));
  }
  std::sort(positions->begin(), positions->end());
}

}  // namespace

LabProbe::LabProbe(Lab& lab, ThreadPool& pool, const SelectionConfig& config, AttendPolicy policy,
                   int64_t rows_max, ProbeObserver observer)
    : lab_(lab),
      pool_(pool),
      config_(config),
      policy_(policy),
      observer_(std::move(observer)),
      roles_(MakeSelectionLayers(config, lab.model().num_layers).roles),
      rows_max_(rows_max),
      select_rows_(config.scope == SelectionScope::kKvHead || policy == AttendPolicy::kHeavyHitters
                       ? lab.model().num_kv_heads
                       : 1),
      decoder_(lab, AllFilters(lab.model().num_layers), rows_max, /*copy_logits=*/true,
               [this](const FilterOutcome& outcome, const Stream&) { See(outcome); }) {
  const ModelConfig& model = lab.model();
  const auto per_row = static_cast<size_t>(rows_max * lab.limits().context_len_max);
  const auto lists = per_row * static_cast<size_t>(select_rows_) * sizeof(int32_t);
  const MemoryKind memory = MemoryOf(lab.device());
  const size_t row_ints = static_cast<size_t>(rows_max) * sizeof(int32_t);
  plan_buffer_ = Buffer(memory, kPlanColumns * row_ints, "probe plans");
  score_buffer_ = Buffer(memory, lists, "probe scores");
  list_buffer_ = Buffer(memory, 3 * lists + row_ints, "probe lists");
  out_buffer_ = Buffer(memory,
                       static_cast<size_t>(rows_max * model.num_q_heads * model.head_dim) * 4,
                       "probe attention");
  mass_host_ = Buffer(MemoryKind::kPinned,
                      per_row * static_cast<size_t>(model.num_kv_heads) * sizeof(float),
                      "probe mass");
  if (policy == AttendPolicy::kHeavyHitters) {
    kept_mass_.assign(per_row * static_cast<size_t>(model.num_kv_heads * model.num_layers), 0.0f);
  }
}

TensorView LabProbe::PlanColumn(int64_t index) const {
  const auto rows = static_cast<int64_t>(plans_.size());
  return plan_buffer_.View({rows}, DType::kI32, static_cast<size_t>(index * rows) * 4);
}

void LabProbe::PutPlans(std::span<const LabDecodeRow> rows) {
  plans_.clear();
  lens_.clear();
  std::vector<int32_t> columns;
  k_ = 1;
  for (const LabDecodeRow& row : rows) {
    plans_.push_back(row.plan);
    lens_.push_back(static_cast<int32_t>(row.sequence->num_cached + 1));
    k_ = std::max<int64_t>(k_, row.plan.k);
  }
  n_ = *std::max_element(lens_.begin(), lens_.end());
  for (int32_t SelectionPlan::*member :
       {&SelectionPlan::candidate_begin, &SelectionPlan::candidate_end, &SelectionPlan::k,
        &SelectionPlan::sink_end, &SelectionPlan::tail_begin}) {
    for (const SelectionPlan& plan : plans_) columns.push_back(plan.*member);
  }
  CopyBytes(plan_buffer_.data(), lab_.device(), columns.data(), DeviceKind::kCpu,
            columns.size() * sizeof(int32_t), lab_.stream());
  lab_.stream().Synchronize();
  const auto count = static_cast<int64_t>(plans_.size());
  const Shape lists{count, select_rows_, k_};
  const size_t bytes = static_cast<size_t>(lists.elements()) * sizeof(int32_t);
  selected_.positions = list_buffer_.View(lists, DType::kI32, 0);
  selected_.list_rows = list_buffer_.View(lists, DType::kI32, bytes);
  selected_.count = list_buffer_.View({count}, DType::kI32, 3 * bytes);
  selected_.host_positions.assign(static_cast<size_t>(lists.elements()), -1);
  selected_.host_count.assign(static_cast<size_t>(count), 0);
}

DecodeResult LabProbe::Step(std::span<const LabDecodeRow> rows) {
  PutPlans(rows);
  recall_.assign(rows.size() * roles_.size(), 1.0);
  // The forward pass itself scores everything and selects one token, which nobody attends to.
  std::vector<LabDecodeRow> measuring(rows.begin(), rows.end());
  for (LabDecodeRow& row : measuring) {
    const auto n = static_cast<int32_t>(row.sequence->num_cached + 1);
    row.plan = {0, n, 1, 0, 0};
  }
  decoder_.Launch(measuring);
  return decoder_.Wait();
}

void LabProbe::FetchMass(const FilterOutcome& outcome) {
  CHECK_LE(outcome.scores.bytes(), mass_host_.bytes());
  CopyBytes(mass_host_.data(), DeviceKind::kCpu, outcome.scores.data, outcome.scores.device,
            outcome.scores.bytes(), lab_.stream());
  lab_.stream().Synchronize();
}

void LabProbe::See(const FilterOutcome& outcome) {
  const int64_t layer_idx = outcome.layer_idx;
  const LayerRole role = roles_[static_cast<size_t>(layer_idx)];
  const bool mass = observer_ || role == LayerRole::kSparse;
  if (mass) FetchMass(outcome);
  if (observer_ || (role == LayerRole::kFilter && policy_ == AttendPolicy::kSelection)) {
    SelectByFilter(outcome);
  }
  if (role == LayerRole::kSparse) {
    if (policy_ != AttendPolicy::kSelection) SelectByMass(layer_idx);
    Attend(layer_idx);
    MeasureRecall(layer_idx);
  }
  if (observer_) Report(layer_idx);
}

void LabProbe::SelectByFilter(const FilterOutcome& outcome) {
  const LlamaContext c = decoder_.context();
  const StepInputs& inputs = decoder_.inputs();
  const ModelConfig& model = lab_.model();
  const auto rows = static_cast<int64_t>(plans_.size());
  const int64_t q_size = model.num_q_heads * model.head_dim;
  const TensorView out = out_buffer_.View({rows, q_size}, DType::kF32);
  const TensorView scores = score_buffer_.View({rows, select_rows_, n_}, DType::kF32);
  const size_t list_bytes = selected_.positions.bytes();
  const TensorView top_scores =
      list_buffer_.View(selected_.positions.shape, DType::kF32, 2 * list_bytes);
  const KvPages& pages = c.kv.layer(outcome.layer_idx);
  const DecodeBatch batch = DecodeBatchOf(inputs, 0);
  const float scale = 1.0f / std::sqrt(static_cast<float>(model.head_dim));
  ops::FilterAttention(out, scores, Columns(Rows(c.act.qkv, 0, rows), 0, q_size), pages, batch,
                       candidates(), config_.score, config_.lse, scale, c.scratch, c.stream);
  ops::TopK(selected_.positions, top_scores, selected_.count, scores, candidates(), c.scratch,
            c.stream);
  ops::RowsOfPositions(selected_.list_rows, selection(), batch.block_table, pages.block_tokens,
                       RowsOf(pages).rows_per_block, c.stream);
  CopyBytes(selected_.host_positions.data(), DeviceKind::kCpu, selected_.positions.data,
            lab_.device(), list_bytes, c.stream);
  CopyBytes(selected_.host_count.data(), DeviceKind::kCpu, selected_.count.data, lab_.device(),
            selected_.count.bytes(), c.stream);
  c.stream.Synchronize();
}

// Scores of one selection row: what its KV head, or all of them, gather now or have gathered.
void LabProbe::MassOf(int64_t layer_idx, int64_t s, int64_t h, std::vector<float>* scores) {
  const int64_t kv_heads = lab_.model().num_kv_heads;
  const auto n = static_cast<int64_t>(scores->size());
  const float* mass = static_cast<const float*>(mass_host_.data()) + s * kv_heads * n_;
  const int64_t first = select_rows_ > 1 ? h : 0;
  const int64_t last = select_rows_ > 1 ? h + 1 : kv_heads;
  std::fill(scores->begin(), scores->end(), 0.0f);
  for (int64_t g = first; g < last; ++g) {
    for (int64_t j = 0; j < n; ++j) (*scores)[static_cast<size_t>(j)] += mass[g * n_ + j];
  }
  if (policy_ != AttendPolicy::kHeavyHitters) return;
  float* kept = Kept(layer_idx, s, h);
  for (int64_t j = 0; j < n; ++j) kept[j] += (*scores)[static_cast<size_t>(j)];
  std::copy(kept, kept + n, scores->begin());
}

float* LabProbe::Kept(int64_t layer_idx, int64_t s, int64_t h) {
  const int64_t kv_heads = lab_.model().num_kv_heads;
  return kept_mass_.data() +
         ((layer_idx * rows_max_ + s) * kv_heads + h) * lab_.limits().context_len_max;
}

void LabProbe::SelectRow(int64_t layer_idx, int64_t s) {
  constexpr float kEvicted = -std::numeric_limits<float>::infinity();
  const SelectionPlan& plan = plans_[static_cast<size_t>(s)];
  std::vector<float> scores(static_cast<size_t>(lens_[static_cast<size_t>(s)]));
  std::vector<int32_t> chosen;
  for (int64_t h = 0; h < select_rows_; ++h) {
    MassOf(layer_idx, s, h, &scores);
    if (!plan.sparse()) continue;
    FirstOf(scores.data(), plan.candidate_begin, plan.candidate_end, plan.k, &chosen);
    std::erase_if(chosen, [&](int32_t j) { return scores[static_cast<size_t>(j)] == kEvicted; });
    // The same for every head: as many have been evicted from each.
    selected_.host_count[static_cast<size_t>(s)] = static_cast<int32_t>(chosen.size());
    int32_t* to = selected_.host_positions.data() + (s * select_rows_ + h) * k_;
    std::copy(chosen.begin(), chosen.end(), to);
    if (policy_ != AttendPolicy::kHeavyHitters) continue;
    float* kept = Kept(layer_idx, s, h);
    for (int32_t j = plan.candidate_begin; j < plan.candidate_end; ++j) {
      if (!std::binary_search(chosen.begin(), chosen.end(), j)) kept[j] = kEvicted;
    }
  }
}

void LabProbe::SelectByMass(int64_t layer_idx) {
  std::fill(selected_.host_positions.begin(), selected_.host_positions.end(), -1);
  std::fill(selected_.host_count.begin(), selected_.host_count.end(), 0);
  pool_.For(static_cast<int64_t>(plans_.size()), [&](int64_t s) { SelectRow(layer_idx, s); });
  const LlamaContext c = decoder_.context();
  CopyBytes(selected_.positions.data, lab_.device(), selected_.host_positions.data(),
            DeviceKind::kCpu, selected_.positions.bytes(), c.stream);
  CopyBytes(selected_.count.data, lab_.device(), selected_.host_count.data(), DeviceKind::kCpu,
            selected_.count.bytes(), c.stream);
  const KvPages& pages = c.kv.layer(layer_idx);
  ops::RowsOfPositions(selected_.list_rows, selection(),
                       DecodeBatchOf(decoder_.inputs(), 0).block_table, pages.block_tokens,
                       RowsOf(pages).rows_per_block, c.stream);
  c.stream.Synchronize();
}

// What the forward pass computed over everything is replaced.
void LabProbe::Attend(int64_t layer_idx) {
  const LlamaContext c = decoder_.context();
  const ModelConfig& model = lab_.model();
  const auto rows = static_cast<int64_t>(plans_.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(model.head_dim));
  ops::GatherAttention(Rows(c.act.attn, 0, rows),
                       Columns(Rows(c.act.qkv, 0, rows), 0, model.num_q_heads * model.head_dim),
                       RowsOf(c.kv.layer(layer_idx)), selected_.list_rows, selection(),
                       DecodeBatchOf(decoder_.inputs(), 0), scale, c.scratch, c.stream);
}

void LabProbe::MeasureRecall(int64_t layer_idx) {
  const int64_t kv_heads = lab_.model().num_kv_heads;
  const float* mass = static_cast<const float*>(mass_host_.data());
  pool_.For(static_cast<int64_t>(plans_.size()), [&](int64_t s) {
    const auto row = static_cast<size_t>(s);
    const SelectionPlan& plan = plans_[row];
    double held = 0.0, all = 0.0;
    for (int64_t h = 0; h < kv_heads; ++h) {
      const float* of = mass + (s * kv_heads + h) * n_;
      for (int64_t j = 0; j < lens_[row]; ++j) {
        all += of[j];
        if (j < plan.sink_end || j >= plan.tail_begin) held += of[j];
      }
      const int64_t list = s * select_rows_ + (select_rows_ > 1 ? h : 0);
      for (int64_t i = 0; i < selected_.host_count[row]; ++i) {
        held += of[selected_.host_positions[static_cast<size_t>(list * k_ + i)]];
      }
    }
    recall_[row * roles_.size() + static_cast<size_t>(layer_idx)] = held / all;
  });
}

void LabProbe::Report(int64_t layer_idx) {
  ProbedLayer layer;
  layer.layer_idx = layer_idx;
  layer.kv_heads = lab_.model().num_kv_heads;
  layer.n = n_;
  layer.mass = {static_cast<const float*>(mass_host_.data()),
                plans_.size() * static_cast<size_t>(layer.kv_heads * n_)};
  layer.lens = lens_;
  layer.top = selected_.host_positions;
  layer.top_rows = select_rows_;
  layer.k = k_;
  observer_(layer);
}

}  // namespace tamis
