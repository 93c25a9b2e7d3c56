// SPDX-License-Identifier: Apache-2.0
// The gate of the feed-forward block.
#include "kernels/backends.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/math.h"

namespace tamis::cpu {
namespace {

template <typename T>
TAMIS_SIMD_INLINE void SiluMulLoop(T* out, const T* gate, const T* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = ToFloat(gate[i]);
    out[i] = FromFloat<T>(g / (1.0f + Exp(-g)) * ToFloat(up[i]));
  }
}

TAMIS_SIMD_CLONES void SiluMulRow(float* out, const float* gate, const float* up, int64_t n) {
  SiluMulLoop(out, gate, up, n);
}
TAMIS_SIMD_CLONES void SiluMulRow(F16* out, const F16* gate, const F16* up, int64_t n) {
  SiluMulLoop(out, gate, up, n);
}
TAMIS_SIMD_CLONES void SiluMulRow(BF16* out, const BF16* gate, const BF16* up, int64_t n) {
  SiluMulLoop(out, gate, up, n);
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

}  // namespace tamis::cpu
