// SPDX-License-Identifier: Apache-2.0
#include "launcher/selection_info.h"

namespace tamis {
namespace {

double Mean(double sum, int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0; }

}  // namespace

void FillSelectionInfo(const SelectionConfig& config, const SelectionStats& stats,
                       v1::GetServerInfoResponse* response) {
  if (!config.enabled()) return;
  v1::SelectionInfo* info = response->mutable_selection();
  info->set_sparse_tokens_total(stats.counts.sparse_tokens_total);
  info->set_dense_tokens_total(stats.counts.dense_tokens_total);
  info->set_attended_tokens_total(stats.counts.attended_tokens_total);
  info->set_context_tokens_total(stats.counts.context_tokens_total);
  const SelectionMeasures& measures = stats.measures;
  info->set_mass_tokens_total(measures.mass_tokens_total);
  for (const FilterMass& filter : measures.filters) {
    if (measures.mass_tokens_total == 0) break;
    v1::FilterLayerMass* mass = info->add_filter_layers();
    mass->set_layer(filter.layer_idx);
    mass->set_mean(Mean(filter.sum_total, measures.mass_tokens_total));
    mass->set_last(filter.last);
  }
  const DenseAgreement& agreement = measures.agreement;
  if (agreement.tokens_total == 0) return;
  v1::SparseDenseAgreement* out = info->mutable_agreement();
  out->set_tokens_total(agreement.tokens_total);
  out->set_top1_equal_total(agreement.top1_equal_total);
  out->set_kl_mean(Mean(agreement.kl_sum_total, agreement.tokens_total));
  out->set_kl_max(agreement.kl_max);
  out->set_logit_diff_max(agreement.logit_diff_max);
}

}  // namespace tamis
