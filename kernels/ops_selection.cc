// SPDX-License-Identifier: Apache-2.0
// Selection and sampling: each op checks its arguments, then runs the twin of its device.
#include "kernels/backends.h"
#include "kernels/expect.h"
#include "kernels/ops.h"

namespace tamis::ops {
namespace {

void CheckCandidates(OpCheck& check, const CandidateView& candidates, Size& S) {
  check.Typed(candidates.begin, DType::kI32, "candidates.begin", {&S});
  check.Typed(candidates.end, DType::kI32, "candidates.end", {&S});
  check.Typed(candidates.k, DType::kI32, "candidates.k", {&S});
}

}  // namespace

void TopK(TensorView positions, TensorView top_scores, TensorView count, ConstTensorView scores,
          const CandidateView& candidates, Scratch& scratch, const Stream& stream) {
  OpCheck check("TopK", stream);
  Size S("S"), Hs("Hs"), n_max("n_max"), k_max("k_max");
  check.Typed(scores, DType::kF32, "scores", {&S, &Hs, &n_max});
  CheckCandidates(check, candidates, S);
  check.Typed(positions, DType::kI32, "positions", {&S, &Hs, &k_max});
  check.Typed(top_scores, DType::kF32, "top_scores", {&S, &Hs, &k_max});
  check.Typed(count, DType::kI32, "count", {&S});
  Pick(stream, cpu::TopK, cuda::TopK)(positions, top_scores, count, scores, candidates, scratch,
                                      stream);
}

void MergeTopK(TensorView positions, TensorView count, ConstTensorView list_positions,
               ConstTensorView list_scores, const CandidateView& candidates, Scratch& scratch,
               const Stream& stream) {
  OpCheck check("MergeTopK", stream);
  Size S("S"), Hs("Hs"), k_max("k_max"), W("W");
  check.Typed(positions, DType::kI32, "positions", {&S, &Hs, &k_max});
  check.Typed(count, DType::kI32, "count", {&S});
  Size entries("S * Hs * k_max", S.value * Hs.value * k_max.value, "positions");
  check.Typed(list_positions, DType::kI32, "list_positions", {&W, &entries});
  check.Typed(list_scores, DType::kF32, "list_scores", {&W, &entries});
  CheckCandidates(check, candidates, S);
  Pick(stream, cpu::MergeTopK, cuda::MergeTopK)(positions, count, list_positions, list_scores,
                                                candidates, scratch, stream);
}

void RowsOfPositions(TensorView list_rows, const SelectionView& selection,
                     ConstTensorView block_table, int64_t block_tokens, int64_t rows_per_block,
                     const Stream& stream) {
  OpCheck check("RowsOfPositions", stream);
  Size S("S"), Hs("Hs"), k_max("k_max"), blocks_max("blocks_max");
  check.Typed(selection.positions, DType::kI32, "selection.positions", {&S, &Hs, &k_max});
  check.Typed(selection.count, DType::kI32, "selection.count", {&S});
  check.Typed(block_table, DType::kI32, "block_table", {&S, &blocks_max});
  check.Typed(list_rows, DType::kI32, "list_rows", {&S, &Hs, &k_max});
  check.That(block_tokens > 0 && rows_per_block >= block_tokens,
             "0 < block_tokens <= rows_per_block");
  Pick(stream, cpu::RowsOfPositions, cuda::RowsOfPositions)(list_rows, selection, block_table,
                                                            block_tokens, rows_per_block, stream);
}

void ConcatVocab(TensorView out, ConstTensorView gathered, ConstTensorView offsets,
                 const Stream& stream) {
  OpCheck check("ConcatVocab", stream);
  Size S("S"), V("V"), W("W"), V_pad("V_pad");
  check.Typed(out, DType::kF32, "out", {&S, &V});
  check.Typed(gathered, DType::kF32, "gathered", {&W, &S, &V_pad});
  Size bounds("W + 1", W.value + 1, "gathered");
  check.Typed(offsets, DType::kI32, "offsets", {&bounds});
  Pick(stream, cpu::ConcatVocab, cuda::ConcatVocab)(out, gathered, offsets, stream);
}

void Sample(TensorView tokens, TensorView logprobs, TensorView top_tokens, TensorView top_logprobs,
            ConstTensorView logits, const SampleParams& params, Scratch& scratch,
            const Stream& stream) {
  OpCheck check("Sample", stream);
  Size S("S"), V("V"), N("N");
  check.Typed(logits, DType::kF32, "logits", {&S, &V});
  check.That(V.value > 0, "V > 0");
  check.Typed(tokens, DType::kI32, "tokens", {&S});
  check.Typed(logprobs, DType::kF32, "logprobs", {&S});
  check.Typed(top_tokens, DType::kI32, "top_tokens", {&S, &N});
  check.Typed(top_logprobs, DType::kF32, "top_logprobs", {&S, &N});
  check.AtLeast(V, N.value, "N");
  check.Typed(params.temperature, DType::kF32, "temperature", {&S});
  check.Typed(params.top_k, DType::kI32, "top_k", {&S});
  check.Typed(params.top_p, DType::kF32, "top_p", {&S});
  check.Typed(params.min_p, DType::kF32, "min_p", {&S});
  check.Typed(params.seed, DType::kU64, "seed", {&S});
  check.Typed(params.position, DType::kI32, "position", {&S});
  Pick(stream, cpu::Sample, cuda::Sample)(tokens, logprobs, top_tokens, top_logprobs, logits,
                                          params, scratch, stream);
}

}  // namespace tamis::ops
