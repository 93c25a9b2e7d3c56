// SPDX-License-Identifier: Apache-2.0
// Attention: each op checks its arguments, then runs the twin of its device.
#include "kernels/backends.h"
#include "kernels/expect.h"
#include "kernels/filter_scores.h"
#include "kernels/ops.h"

namespace tamis::ops {
namespace {

void CheckDecodeBatch(OpCheck& check, const DecodeBatch& batch, Size& S) {
  Size blocks_max("blocks_max");
  check.Typed(batch.context_lens, DType::kI32, "context_lens", {&S});
  check.Typed(batch.block_table, DType::kI32, "block_table", {&S, &blocks_max});
}

void CheckQueries(OpCheck& check, const TensorView& out, const ConstTensorView& q, Size& rows,
                  int64_t head_dim, int64_t kv_heads_local) {
  Size width("Nq_local * D");
  check.FloatRows(q, "q", {&rows, &width});
  check.Float(out, "out", {&rows, &width});
  check.Multiple(width, head_dim * kv_heads_local, "Nkv_local * D");
}

void CheckScores(OpCheck& check, const TensorView& scores, Size& S, const DecodeBatch& batch,
                 const CandidateView& candidates, int64_t kv_heads_local) {
  Size Hs("Hs"), n_max("n_max");
  check.Typed(scores, DType::kF32, "scores", {&S, &Hs, &n_max});
  check.That(Hs.value == 1 || Hs.value == kv_heads_local, "Hs is 1 or Nkv_local");
  check.AtLeast(n_max, batch.context_len_max, "context_len_max");
  check.Typed(candidates.begin, DType::kI32, "candidates.begin", {&S});
  check.Typed(candidates.end, DType::kI32, "candidates.end", {&S});
}

void CheckSelectionRows(OpCheck& check, const Size& Hs, int64_t kv_heads_local) {
  check.That(Hs.value == 1 || Hs.value == kv_heads_local, "Hs is 1 or Nkv_local");
}

// The width of a fused row that belongs to the pages.
Size CheckPagesAndRows(OpCheck& check, const KvPages& pages, int64_t q_heads_local) {
  check.Pages(pages, "pages");
  check.That(pages.head_dim % 2 == 0, "D is even");
  return Size("(Nq_local + 2 * Nkv_local) * D",
              (q_heads_local + 2 * pages.kv_heads_local) * pages.head_dim,
              "pages and q_heads_local");
}

void CheckRopeInputs(OpCheck& check, Size& T, const KvPages& pages,
                     const ConstTensorView& positions, const ConstTensorView& token_slots,
                     const ConstTensorView& inv_freq) {
  Size half("D / 2", pages.head_dim / 2, "pages");
  check.Typed(positions, DType::kI32, "positions", {&T});
  check.Typed(token_slots, DType::kI32, "token_slots", {&T});
  check.Typed(inv_freq, DType::kF32, "inv_freq", {&half});
}

}  // namespace

void RopeAndStoreKv(TensorView qkv, const KvPages& pages, ConstTensorView positions,
                    ConstTensorView token_slots, ConstTensorView inv_freq, int64_t q_heads_local,
                    const Stream& stream) {
  OpCheck check("RopeAndStoreKv", stream);
  Size T("T");
  Size width = CheckPagesAndRows(check, pages, q_heads_local);
  check.Float(qkv, "qkv", {&T, &width});
  CheckRopeInputs(check, T, pages, positions, token_slots, inv_freq);
  Pick(stream, cpu::RopeAndStoreKv, cuda::RopeAndStoreKv)(qkv, pages, positions, token_slots,
                                                          inv_freq, q_heads_local, stream);
}

void MatMulRopeAndStoreKv(TensorView qkv, ConstTensorView a, ConstTensorView weight,
                          const KvPages& pages, ConstTensorView positions,
                          ConstTensorView token_slots, ConstTensorView inv_freq,
                          int64_t q_heads_local, Scratch& scratch, const Stream& stream) {
  OpCheck check("MatMulRopeAndStoreKv", stream);
  Size T("T"), K("K");
  Size width = CheckPagesAndRows(check, pages, q_heads_local);
  check.FloatRows(a, "a", {&T, &K});
  check.Float(weight, "weight", {&width, &K});
  check.Float(qkv, "qkv", {&T, &width});
  CheckRopeInputs(check, T, pages, positions, token_slots, inv_freq);
  Pick(stream, cpu::MatMulRopeAndStoreKv, cuda::MatMulRopeAndStoreKv)(
      qkv, a, weight, pages, positions, token_slots, inv_freq, q_heads_local, scratch, stream);
}

void PrefillAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                      const PrefillBatch& batch, float scale, Scratch& scratch,
                      const Stream& stream) {
  OpCheck check("PrefillAttention", stream);
  Size T("T"), S("S"), blocks_max("blocks_max");
  check.Pages(pages, "pages");
  CheckQueries(check, out, q, T, pages.head_dim, pages.kv_heads_local);
  check.Typed(batch.context_lens, DType::kI32, "context_lens", {&S});
  check.Typed(batch.block_table, DType::kI32, "block_table", {&S, &blocks_max});
  Size starts("S + 1", S.value + 1, "context_lens");
  check.Typed(batch.query_starts, DType::kI32, "query_starts", {&starts});
  Pick(stream, cpu::PrefillAttention, cuda::PrefillAttention)(out, q, pages, batch, scale, scratch,
                                                              stream);
}

void DecodeAttention(TensorView out, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, float scale, Scratch& scratch,
                     const Stream& stream) {
  OpCheck check("DecodeAttention", stream);
  Size S("S");
  check.Pages(pages, "pages");
  CheckQueries(check, out, q, S, pages.head_dim, pages.kv_heads_local);
  CheckDecodeBatch(check, batch, S);
  Pick(stream, cpu::DecodeAttention, cuda::DecodeAttention)(out, q, pages, batch, scale, scratch,
                                                            stream);
}

void FilterAttention(TensorView out, TensorView scores, ConstTensorView q, const KvPages& pages,
                     const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                     LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  OpCheck check("FilterAttention", stream);
  Size S("S");
  check.Pages(pages, "pages");
  CheckQueries(check, out, q, S, pages.head_dim, pages.kv_heads_local);
  CheckDecodeBatch(check, batch, S);
  CheckScores(check, scores, S, batch, candidates, pages.kv_heads_local);
  check.That(!IsWindowScore(kind), "kind is not a window score");
  Pick(stream, cpu::FilterAttention, cuda::FilterAttention)(
      out, scores, q, pages, batch, candidates, kind, lse_scope, scale, scratch, stream);
}

void FilterScores(TensorView scores, ConstTensorView q, const KvPages& pages,
                  const DecodeBatch& batch, const CandidateView& candidates, ScoreKind kind,
                  LseScope lse_scope, float scale, Scratch& scratch, const Stream& stream) {
  OpCheck check("FilterScores", stream);
  Size S("S"), width("Nq_local * D");
  check.Pages(pages, "pages");
  check.FloatRows(q, "q", {&S, &width});
  check.Multiple(width, pages.head_dim * pages.kv_heads_local, "Nkv_local * D");
  CheckDecodeBatch(check, batch, S);
  CheckScores(check, scores, S, batch, candidates, pages.kv_heads_local);
  check.That(!IsWindowScore(kind), "kind is not a window score");
  Pick(stream, cpu::FilterScores, cuda::FilterScores)(scores, q, pages, batch, candidates, kind,
                                                      lse_scope, scale, scratch, stream);
}

void GatherAttention(TensorView out, ConstTensorView q, const KvRows& rows,
                     ConstTensorView list_rows, const SelectionView& selection,
                     const DecodeBatch& batch, float scale, Scratch& scratch,
                     const Stream& stream) {
  OpCheck check("GatherAttention", stream);
  Size S("S"), Hs("Hs"), k_max("k_max");
  check.KeyValueRows(rows, "rows");
  CheckQueries(check, out, q, S, rows.head_dim, rows.kv_heads_local);
  CheckDecodeBatch(check, batch, S);
  check.Typed(list_rows, DType::kI32, "list_rows", {&S, &Hs, &k_max});
  CheckSelectionRows(check, Hs, rows.kv_heads_local);
  check.Typed(selection.count, DType::kI32, "selection.count", {&S});
  check.Typed(selection.sink_end, DType::kI32, "selection.sink_end", {&S});
  check.Typed(selection.tail_begin, DType::kI32, "selection.tail_begin", {&S});
  Pick(stream, cpu::GatherAttention, cuda::GatherAttention)(out, q, rows, list_rows, selection,
                                                            batch, scale, scratch, stream);
}

}  // namespace tamis::ops
