// SPDX-License-Identifier: Apache-2.0
// MatMul, alone and with what is fused with it: chooses between our kernels for few rows and
// cuBLASLt. The choice depends on shapes and addresses only, so a captured graph and an eager step
// compute the same bits.
#include <algorithm>

#include "kernels/backends.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/rope.cuh"
#include "kernels/tune_matmul.h"

namespace tamis::cuda {

void MatMul(TensorView out, ConstTensorView a, ConstTensorView weight, Scratch& scratch,
            const Stream& stream) {
  if (out.empty()) return;
  if (FitsSkinnyMatMul(a, weight)) return SkinnyMatMul(out, a, weight, stream);
  if (FitsFewRowsMatMul(a, weight)) return FewRowsMatMul(out, a, weight, stream);
  const ScratchScope scope(scratch);
  const auto workspace_elements = static_cast<int64_t>(kCublasWorkspaceBytes / 4);
  CublasMatMul(out, a, weight, scratch.Take({workspace_elements}, DType::kF32), stream);
}

void MatMulSiluMul(TensorView out, TensorView gate_up, ConstTensorView a, ConstTensorView weight,
                   Scratch& scratch, const Stream& stream) {
  if (out.empty()) return;
  if (FitsSkinnyMatMul(a, weight)) return SkinnyMatMulSiluMul(out, a, weight, stream);
  MatMul(gate_up, a, weight, scratch, stream);
  SiluMul(out, gate_up, stream);
}

void MatMulRopeAndStoreKv(TensorView qkv, ConstTensorView a, ConstTensorView weight,
                          const KvPages& pages, ConstTensorView positions,
                          ConstTensorView token_slots, ConstTensorView inv_freq,
                          int64_t q_heads_local, Scratch& scratch, const Stream& stream) {
  if (qkv.empty()) return;
  if (FitsSkinnyMatMul(a, weight) && pages.head_dim > 2) {
    return SkinnyMatMulRopeAndStoreKv(
        qkv, a, weight, pages, RopeParamsOf(pages, positions, token_slots, inv_freq, q_heads_local),
        stream);
  }
  MatMul(qkv, a, weight, scratch, stream);
  RopeAndStoreKv(qkv, pages, positions, token_slots, inv_freq, q_heads_local, stream);
}

namespace {

// Something like activations: the bytes of a weight. Products of zeros take less power, and less
// time.
void FillWithWeights(const TensorView& a, const ConstTensorView& weight, const Stream& stream) {
  for (size_t done = 0; done < a.bytes();) {
    const size_t count = std::min(weight.bytes(), a.bytes() - done);
    CopyBytes(static_cast<std::byte*>(a.data) + done, a.device, weight.data, weight.device, count,
              stream);
    done += count;
  }
}

}  // namespace

void TuneMatMul(TensorView out, TensorView a, const std::vector<ConstTensorView>& weights,
                Scratch& scratch, const Stream& stream) {
  if (out.empty() || weights.empty() || a.empty()) return;
  const ScratchScope scope(scratch);
  const TensorView workspace =
      scratch.Take({static_cast<int64_t>(kCublasWorkspaceBytes / 4)}, DType::kF32);
  FillWithWeights(a, weights.front(), stream);
  const int64_t rows_max = a.shape[0];
  for (int64_t bucket = 1;; bucket *= 2) {
    const int64_t rows = std::min(bucket, rows_max);
    const ConstTensorView some = Rows(ConstTensorView(a), 0, rows);
    const TensorView into = Rows(out, 0, rows);
    if (!FitsSkinnyMatMul(some, weights.front()) && !FitsFewRowsMatMul(some, weights.front()) &&
        !CublasMatMulTuned(into, some, weights.front())) {
      TuneCublasMatMul(into, some, weights, workspace, stream);
    }
    if (bucket >= rows_max) return;
  }
}

}  // namespace tamis::cuda
