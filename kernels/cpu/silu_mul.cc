// SPDX-License-Identifier: Apache-2.0
// The gate of the feed-forward block. 16-bit rows go through float32 in pieces.
#include <algorithm>

#include "kernels/backends.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/vector_loops.h"

namespace tamis::cpu {
namespace {

void SiluMulRow(float* out, const float* gate, const float* up, int64_t n) {
  BestVectorLoops().silu_mul(out, gate, up, n);
}

template <typename T>
void SiluMulRow(T* out, const T* gate, const T* up, int64_t n) {
  constexpr int64_t kPiece = 256;
  float gates[kPiece];
  float ups[kPiece];
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const int64_t count = std::min(kPiece, n - begin);
    for (int64_t i = 0; i < count; ++i) gates[i] = ToFloat(gate[begin + i]);
    for (int64_t i = 0; i < count; ++i) ups[i] = ToFloat(up[begin + i]);
    SiluMulRow(gates, gates, ups, count);
    for (int64_t i = 0; i < count; ++i) out[begin + i] = FromFloat<T>(gates[i]);
  }
}

}  // namespace

void SiluMul(TensorView out, ConstTensorView gate_up, const Stream&) {
  const int64_t width = out.shape[1];
  ForFloatType(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < out.shape[0]; ++t) {
      const T* gate = static_cast<const T*>(gate_up.data) + t * 2 * width;
      SiluMulRow(static_cast<T*>(out.data) + t * width, gate, gate + width, width);
    }
  });
}

void MatMulSiluMul(TensorView out, TensorView gate_up, ConstTensorView a, ConstTensorView weight,
                   Scratch& scratch, const Stream& stream) {
  MatMul(gate_up, a, weight, scratch, stream);
  SiluMul(out, gate_up, stream);
}

}  // namespace tamis::cpu
