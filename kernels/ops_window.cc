// SPDX-License-Identifier: Apache-2.0
// Window scores: each op checks its arguments and runs on the CPU.
#include "kernels/expect.h"
#include "kernels/window_ops.h"

namespace tamis::ops {
namespace {

void CheckOnCpu(const OpCheck& check, const Stream& stream) {
  check.That(stream.device() == DeviceKind::kCpu, "window scores are computed on the CPU only");
}

}  // namespace

void StoreWindowQueries(TensorView window, ConstTensorView q, ConstTensorView positions,
                        ConstTensorView slots, const Stream& stream) {
  OpCheck check("StoreWindowQueries", stream);
  Size slots_max("max_num_seqs"), W("W"), T("T"), width("Nq_local * D");
  CheckOnCpu(check, stream);
  check.Float(window, "window", {&slots_max, &W, &width});
  check.FloatRows(q, "q", {&T, &width});
  check.Typed(positions, DType::kI32, "positions", {&T});
  check.Typed(slots, DType::kI32, "slots", {&T});
  cpu::StoreWindowQueries(window, q, positions, slots, stream);
}

void WindowScores(TensorView window_scores, ConstTensorView window, ConstTensorView slots,
                  const KvPages& pages, const DecodeBatch& batch, const CandidateView& candidates,
                  LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  OpCheck check("WindowScores", stream);
  Size S("S"), Hs("Hs"), W("W"), n_max("n_max"), slots_max("max_num_seqs"), width("Nq_local * D");
  Size blocks_max("blocks_max");
  CheckOnCpu(check, stream);
  check.Pages(pages, "pages");
  check.Typed(window_scores, DType::kF32, "window_scores", {&S, &Hs, &W, &n_max});
  check.Float(window, "window", {&slots_max, &W, &width});
  check.Multiple(width, pages.head_dim * pages.kv_heads_local, "Nkv_local * D");
  check.Typed(slots, DType::kI32, "slots", {&S});
  check.Typed(batch.context_lens, DType::kI32, "context_lens", {&S});
  check.Typed(batch.block_table, DType::kI32, "block_table", {&S, &blocks_max});
  check.That(Hs.value == 1 || Hs.value == pages.kv_heads_local, "Hs is 1 or Nkv_local");
  check.AtLeast(n_max, batch.context_len_max, "context_len_max");
  check.Typed(candidates.begin, DType::kI32, "candidates.begin", {&S});
  check.Typed(candidates.end, DType::kI32, "candidates.end", {&S});
  cpu::WindowScores(window_scores, window, slots, pages, batch, candidates, lse_scope, scale,
                    scratch, stream);
}

void SumWindowScores(TensorView scores, ConstTensorView window_scores,
                     const CandidateView& candidates, ScoreKind kind, const Stream& stream) {
  OpCheck check("SumWindowScores", stream);
  Size S("S"), Hs("Hs"), W("W"), n_max("n_max");
  CheckOnCpu(check, stream);
  check.Typed(window_scores, DType::kF32, "window_scores", {&S, &Hs, &W, &n_max});
  check.Typed(scores, DType::kF32, "scores", {&S, &Hs, &n_max});
  check.Typed(candidates.begin, DType::kI32, "candidates.begin", {&S});
  check.Typed(candidates.end, DType::kI32, "candidates.end", {&S});
  check.That(IsWindowScore(kind), "kind is kUniform or kExp");
  cpu::SumWindowScores(scores, window_scores, candidates, kind, stream);
}

}  // namespace tamis::ops
