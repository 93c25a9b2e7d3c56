// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/selection_probe.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "kernels/order_key.h"

namespace tamis {
namespace {

template <typename T>
void ToHost(std::vector<T>* values, const ConstTensorView& x, const Stream& stream) {
  values->resize(static_cast<size_t>(x.elements()));
  if (values->empty()) return;
  CopyBytes(values->data(), DeviceKind::kCpu, x.data, x.device, x.bytes(), stream);
  stream.Synchronize();
}

size_t FirstOf(std::span<const float> logits) {
  size_t first = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (OrderKey(logits[i]) > OrderKey(logits[first])) first = i;
  }
  return first;
}

double LogSumExp(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum);
}

// The scores of [begin, end) that are not among the ascending `listed`.
double SumWithout(const float* scores, int32_t begin, int32_t end,
                  std::span<const int32_t> listed) {
  double sum = 0.0;
  auto next = listed.begin();
  for (int32_t j = begin; j < end; ++j) {
    if (next != listed.end() && *next == j) {
      ++next;
    } else {
      sum += static_cast<double>(scores[j]);
    }
  }
  return sum;
}

}  // namespace

LogitAgreement CompareLogits(std::span<const float> dense, std::span<const float> sparse) {
  CHECK_EQ(dense.size(), sparse.size());
  LogitAgreement agreement;
  agreement.top1_equal = FirstOf(dense) == FirstOf(sparse);
  const double lse_dense = LogSumExp(dense);
  const double lse_sparse = LogSumExp(sparse);
  for (size_t i = 0; i < dense.size(); ++i) {
    const double log_p = static_cast<double>(dense[i]) - lse_dense;
    const double log_q = static_cast<double>(sparse[i]) - lse_sparse;
    agreement.kl += std::exp(log_p) * (log_p - log_q);
    const double difference = static_cast<double>(dense[i]) - static_cast<double>(sparse[i]);
    agreement.logit_diff_max = std::max(agreement.logit_diff_max, std::fabs(difference));
  }
  agreement.kl = std::max(agreement.kl, 0.0);  // equal rows may round below
  return agreement;
}

SelectionProbe::SelectionProbe(const SelectionConfig& config, const ModelConfig& model,
                               const SelectionLayers& layers, Log log)
    : mass_interval_(config.enabled() ? config.mass_interval : 0),
      dense_interval_(config.enabled() ? config.dense_interval : 0),
      num_q_heads_(model.num_q_heads),
      log_(std::move(log)) {
  for (size_t layer = 0; layer < layers.roles.size(); ++layer) {
    if (layers.roles[layer] != LayerRole::kFilter) continue;
    FilterMass filter;
    filter.layer_idx = static_cast<int32_t>(layer);
    measures_.filters.push_back(filter);
  }
}

bool SelectionProbe::Due(const StepInputs& inputs) {
  if (inputs.selection.k_max == 0) return false;
  mass_due_ = mass_interval_ > 0 && num_steps_ % mass_interval_ == 0;
  dense_due_ = dense_interval_ > 0 && num_steps_ % dense_interval_ == 0;
  ++num_steps_;
  return mass_due_ || dense_due_;
}

void SelectionProbe::Forward(LlamaContext context, const HostStep& step, const StepInputs& inputs) {
  std::ostringstream line;
  line << "selection, step " << num_steps_ << " of those that select:";
  line_ = line.str();
  const auto num_sparse = std::count_if(step.selection.begin(), step.selection.end(),
                                        [](const SelectionPlan& plan) { return plan.sparse(); });
  if (dense_due_) RunDense(context, inputs);
  lost_.clear();
  const SelectionObserver observe = [&](const FilterOutcome& outcome, const Stream& stream) {
    MeasureMass(outcome, step, stream);
  };
  if (mass_due_) context.mass_observer = &observe;
  tamis::Forward(context, inputs);
  if (mass_due_) AddMass(context, num_sparse);
  if (dense_due_) AddAgreement(context, step, inputs);
  if (log_) log_(line_);
}

void SelectionProbe::RunDense(const LlamaContext& context, const StepInputs& inputs) {
  dense_inputs_ = inputs;
  dense_inputs_.selection = {};
  tamis::Forward(context, dense_inputs_);
  ToHost(&dense_logits_, Rows(context.act.logits, 0, inputs.num_logit_rows), context.stream);
}

// The outcome's scores are each candidate's share of attention, added over this rank's heads.
void SelectionProbe::MeasureMass(const FilterOutcome& outcome, const HostStep& step,
                                 const Stream& stream) {
  ToHost(&scores_, outcome.scores, stream);
  ToHost(&positions_, outcome.selection.positions, stream);
  const int64_t rows_per_seq = outcome.scores.shape[1];
  const int64_t score_len = outcome.scores.shape[2];
  const int64_t k_max = outcome.selection.positions.shape[2];
  double lost = 0.0;
  for (size_t row = 0; row < static_cast<size_t>(outcome.scores.shape[0] * rows_per_seq); ++row) {
    const size_t seq = row / static_cast<size_t>(rows_per_seq);
    if (seq >= step.selection.size()) break;  // padding
    const SelectionPlan& plan = step.selection[seq];
    const int32_t count = std::clamp(plan.candidate_end - plan.candidate_begin, int32_t{0}, plan.k);
    const int32_t* first = positions_.data() + static_cast<int64_t>(row) * k_max;
    lost += SumWithout(scores_.data() + static_cast<int64_t>(row) * score_len, plan.candidate_begin,
                       plan.candidate_end, {first, static_cast<size_t>(count)});
  }
  lost_.push_back(static_cast<float>(lost));
}

void SelectionProbe::AddMass(const LlamaContext& context, int64_t num_sparse) {
  CHECK_EQ(lost_.size(), measures_.filters.size()) << "filter layers";
  const ScratchScope scope(context.scratch);
  const TensorView sums = context.scratch.Take({static_cast<int64_t>(lost_.size())}, DType::kF32);
  CopyBytes(sums.data, sums.device, lost_.data(), DeviceKind::kCpu, sums.bytes(), context.stream);
  context.collectives.AllReduce(sums, ReduceOp::kSum, context.stream);
  ToHost(&lost_, sums, context.stream);
  ++measures_.mass_steps_total;
  measures_.mass_tokens_total += num_sparse;
  std::ostringstream line;
  for (size_t i = 0; i < lost_.size(); ++i) {
    FilterMass& filter = measures_.filters[i];
    const double heads = static_cast<double>(num_q_heads_ * num_sparse);
    filter.last = 1.0 - static_cast<double>(lost_[i]) / heads;
    filter.sum_total += filter.last * static_cast<double>(num_sparse);
    line << (i == 0 ? " attention mass " : ", ") << filter.last << " at layer " << filter.layer_idx;
  }
  line_ += line.str();
}

void SelectionProbe::AddAgreement(const LlamaContext& context, const HostStep& step,
                                  const StepInputs& inputs) {
  ToHost(&sparse_logits_, Rows(context.act.logits, 0, inputs.num_logit_rows), context.stream);
  const size_t vocab = static_cast<size_t>(context.act.logits.shape[1]);
  DenseAgreement now;
  for (size_t row = 0; row < step.logit_rows.size(); ++row) {
    const size_t token = static_cast<size_t>(step.logit_rows[row]);
    // Prefilled rows are dense in both, padding names no row.
    if (token >= step.selection.size() || !step.selection[token].sparse()) continue;
    const LogitAgreement agreement =
        CompareLogits(std::span(dense_logits_).subspan(row * vocab, vocab),
                      std::span(sparse_logits_).subspan(row * vocab, vocab));
    ++now.tokens_total;
    now.top1_equal_total += agreement.top1_equal ? 1 : 0;
    now.kl_sum_total += agreement.kl;
    now.kl_max = std::max(now.kl_max, agreement.kl);
    now.logit_diff_max = std::max(now.logit_diff_max, agreement.logit_diff_max);
  }
  DenseAgreement& all = measures_.agreement;
  all.tokens_total += now.tokens_total;
  all.top1_equal_total += now.top1_equal_total;
  all.kl_sum_total += now.kl_sum_total;
  all.kl_max = std::max(all.kl_max, now.kl_max);
  all.logit_diff_max = std::max(all.logit_diff_max, now.logit_diff_max);
  ++measures_.dense_steps_total;
  std::ostringstream line;
  line << "; beside a dense run " << now.top1_equal_total << " of " << now.tokens_total
       << " tokens have the same most likely one, KL at most " << now.kl_max
       << ", logits differ by at most " << now.logit_diff_max;
  line_ += line.str();
}

}  // namespace tamis
