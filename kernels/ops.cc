// SPDX-License-Identifier: Apache-2.0
// Tokens, elementwise and products: each op checks its arguments, then runs the twin of its device.
#include "kernels/ops.h"

#include "kernels/backends.h"
#include "kernels/expect.h"
#include "kernels/scratch_bytes.h"
#include "kernels/tune_matmul.h"

namespace tamis {

size_t OpScratchBytes(DeviceKind device, const ScratchLimits& limits) {
  return device == DeviceKind::kCuda ? cuda::OpScratchBytes(limits) : cpu::OpScratchBytes(limits);
}

void TuneMatMul(TensorView out, TensorView a, const std::vector<ConstTensorView>& weights,
                Scratch& scratch, const Stream& stream) {
  if (stream.device() != DeviceKind::kCuda) return;
  OpCheck check("TuneMatMul", stream);
  Size M("M"), N("N"), K("K");
  check.FloatRows(a, "a", {&M, &K});
  for (const ConstTensorView& weight : weights) check.Float(weight, "weight", {&N, &K});
  check.FloatOrF32Rows(out, "out", {&M, &N});
  cuda::TuneMatMul(out, a, weights, scratch, stream);
}

}  // namespace tamis

namespace tamis::ops {

void ResolveTokens(TensorView out, ConstTensorView token_ids, ConstTensorView from_slot,
                   ConstTensorView slot_tokens, const Stream& stream) {
  OpCheck check("ResolveTokens", stream);
  Size T("T"), slots("max_num_seqs");
  check.Typed(token_ids, DType::kI32, "token_ids", {&T});
  check.Typed(from_slot, DType::kI32, "from_slot", {&T});
  check.Typed(slot_tokens, DType::kI32, "slot_tokens", {&slots});
  check.Typed(out, DType::kI32, "out", {&T});
  Pick(stream, cpu::ResolveTokens, cuda::ResolveTokens)(out, token_ids, from_slot, slot_tokens,
                                                        stream);
}

void StoreSlotTokens(TensorView slot_tokens, ConstTensorView slots, ConstTensorView tokens,
                     const Stream& stream) {
  OpCheck check("StoreSlotTokens", stream);
  Size S("S"), num_slots("max_num_seqs");
  check.Typed(slot_tokens, DType::kI32, "slot_tokens", {&num_slots});
  check.Typed(slots, DType::kI32, "slots", {&S});
  check.Typed(tokens, DType::kI32, "tokens", {&S});
  Pick(stream, cpu::StoreSlotTokens, cuda::StoreSlotTokens)(slot_tokens, slots, tokens, stream);
}

void Embedding(TensorView out, ConstTensorView table, ConstTensorView token_ids,
               int64_t vocab_begin, const Stream& stream) {
  OpCheck check("Embedding", stream);
  Size T("T"), H("H"), V_local("V_local");
  check.Float(table, "table", {&V_local, &H});
  check.Typed(token_ids, DType::kI32, "token_ids", {&T});
  check.Float(out, "out", {&T, &H});
  Pick(stream, cpu::Embedding, cuda::Embedding)(out, table, token_ids, vocab_begin, stream);
}

void GatherRows(TensorView out, ConstTensorView x, ConstTensorView rows, const Stream& stream) {
  OpCheck check("GatherRows", stream);
  Size T("T"), H("H"), S("S");
  check.Float(x, "x", {&T, &H});
  check.Typed(rows, DType::kI32, "rows", {&S});
  check.Float(out, "out", {&S, &H});
  Pick(stream, cpu::GatherRows, cuda::GatherRows)(out, x, rows, stream);
}

void RmsNorm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps,
             const Stream& stream) {
  OpCheck check("RmsNorm", stream);
  Size T("T"), H("H");
  check.Float(x, "x", {&T, &H});
  check.Float(weight, "weight", {&H});
  check.Float(out, "out", {&T, &H});
  Pick(stream, cpu::RmsNorm, cuda::RmsNorm)(out, x, weight, eps, stream);
}

void AddRmsNorm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                float eps, const Stream& stream) {
  OpCheck check("AddRmsNorm", stream);
  Size T("T"), H("H");
  check.Float(x, "x", {&T, &H});
  check.Float(residual, "residual", {&T, &H});
  check.Float(weight, "weight", {&H});
  check.Float(out, "out", {&T, &H});
  check.That(out.data != residual.data || out.empty(), "out does not alias residual");
  Pick(stream, cpu::AddRmsNorm, cuda::AddRmsNorm)(out, residual, x, weight, eps, stream);
}

void SiluMul(TensorView out, ConstTensorView gate_up, const Stream& stream) {
  OpCheck check("SiluMul", stream);
  Size T("T"), F_local("F_local");
  check.Float(out, "out", {&T, &F_local});
  Size gate_up_size("2 * F_local", 2 * F_local.value, "out");
  check.Float(gate_up, "gate_up", {&T, &gate_up_size});
  Pick(stream, cpu::SiluMul, cuda::SiluMul)(out, gate_up, stream);
}

void FillRandom(TensorView out, uint64_t key, int64_t row_begin, int64_t column_begin, float mean,
                float reach, const Stream& stream) {
  OpCheck check("FillRandom", stream);
  Size R("R"), C("C");
  check.Float(out, "out", {&R, &C});
  check.That(row_begin >= 0 && column_begin >= 0, "row_begin and column_begin are not below 0");
  Pick(stream, cpu::FillRandom, cuda::FillRandom)(out, key, row_begin, column_begin, mean, reach,
                                                  stream);
}

void MatMul(TensorView out, ConstTensorView a, ConstTensorView weight, Scratch& scratch,
            const Stream& stream) {
  OpCheck check("MatMul", stream);
  Size M("M"), N("N"), K("K");
  check.FloatRows(a, "a", {&M, &K});
  check.Float(weight, "weight", {&N, &K});
  check.FloatOrF32Rows(out, "out", {&M, &N});
  Pick(stream, cpu::MatMul, cuda::MatMul)(out, a, weight, scratch, stream);
}

void MatMulSiluMul(TensorView out, TensorView gate_up, ConstTensorView a, ConstTensorView weight,
                   Scratch& scratch, const Stream& stream) {
  OpCheck check("MatMulSiluMul", stream);
  Size M("M"), F_local("F_local"), K("K");
  check.FloatRows(a, "a", {&M, &K});
  check.Float(out, "out", {&M, &F_local});
  Size gate_up_size("2 * F_local", 2 * F_local.value, "out");
  check.Float(weight, "weight", {&gate_up_size, &K});
  check.Float(gate_up, "gate_up", {&M, &gate_up_size});
  Pick(stream, cpu::MatMulSiluMul, cuda::MatMulSiluMul)(out, gate_up, a, weight, scratch, stream);
}

}  // namespace tamis::ops
