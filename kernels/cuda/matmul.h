// SPDX-License-Identifier: Apache-2.0
// The ways to a product, private to kernels/cuda: the library, and our own kernels for few rows,
// which read weights while their predecessor still runs.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "kernels/kv_layout.h"
#include "kernels/tensor.h"

namespace tamis::cuda {

struct RopeParams;  // rope.cuh

// What cuBLASLt may use; taken from scratch.
constexpr size_t kCublasWorkspaceBytes = size_t{32} << 20;

void CublasMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const TensorView& workspace, const Stream& stream);

// Measures the library's candidates for this product, and two products of half the rows; keeps the
// fastest for row counts down to half. Halves first. Waits.
void TuneCublasMatMul(const TensorView& out, const ConstTensorView& a,
                      const std::vector<ConstTensorView>& weights, const TensorView& workspace,
                      const Stream& stream);
// Whether that was done for such a product.
bool CublasMatMulTuned(const TensorView& out, const ConstTensorView& a,
                       const ConstTensorView& weight);

// Rows up to which SkinnyMatMul is used; see bench/results.
constexpr int64_t kSkinnyRowsMax = 16;

// Whether SkinnyMatMul takes these tensors: 16-bit floats, rows that 16-byte loads fit.
bool FitsSkinnyMatMul(const ConstTensorView& a, const ConstTensorView& weight);
void SkinnyMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                  const Stream& stream);
// out [M, F] = silu(a * gate^T) * (a * up^T), weight [2 * F, K] with the gate first.
void SkinnyMatMulSiluMul(const TensorView& out, const ConstTensorView& a,
                         const ConstTensorView& weight, const Stream& stream);
// Of qkv [M, (Nq_local + 2 * Nkv_local) * D] = a * weight^T, writes the rotated queries only.
void SkinnyMatMulRopeAndStoreKv(const TensorView& qkv, const ConstTensorView& a,
                                const ConstTensorView& weight, const KvPages& pages,
                                const RopeParams& rope, const Stream& stream);

// Rows up to which FewRowsMatMul is used; see bench/results.
constexpr int64_t kFewRowsMax = 64;

// Whether FewRowsMatMul takes these tensors: as FitsSkinnyMatMul, on a Hopper GPU.
bool FitsFewRowsMatMul(const ConstTensorView& a, const ConstTensorView& weight);
void FewRowsMatMul(const TensorView& out, const ConstTensorView& a, const ConstTensorView& weight,
                   const Stream& stream);

}  // namespace tamis::cuda
