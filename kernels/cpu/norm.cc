// SPDX-License-Identifier: Apache-2.0
// RMS normalisation. The sum of squares runs over 16 fixed lanes, so that it vectorises and still
// has one order everywhere.
#include <cmath>

#include "kernels/backends.h"
#include "kernels/cpu/convert.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kLanes = 16;

template <typename T>
float SumOfSquares(const T* x, int64_t n) {
  float lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lane[l] += ToFloat(x[i + l]) * ToFloat(x[i + l]);
  }
  for (int64_t l = 0; i + l < n; ++l) lane[l] += ToFloat(x[i + l]) * ToFloat(x[i + l]);
  float sum = 0.0f;
  for (float part : lane) sum += part;
  return sum;
}

template <typename T>
void NormRow(T* out, const T* x, const T* weight, int64_t n, float eps) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const float scale = 1.0f / std::sqrt(mean + eps);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = FromFloat<T>(ToFloat(x[i]) * scale * ToFloat(weight[i]));
  }
}

}  // namespace

void RmsNorm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, const Stream&) {
  const int64_t hidden = x.shape[1];
  ForFloatType(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < x.shape[0]; ++t) {
      NormRow(static_cast<T*>(out.data) + t * hidden, static_cast<const T*>(x.data) + t * hidden,
              static_cast<const T*>(weight.data), hidden, eps);
    }
  });
}

void AddRmsNorm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                float eps, const Stream&) {
  const int64_t hidden = x.shape[1];
  ForFloatType(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < x.shape[0]; ++t) {
      T* sum = static_cast<T*>(residual.data) + t * hidden;
      const T* add = static_cast<const T*>(x.data) + t * hidden;
      for (int64_t i = 0; i < hidden; ++i) {
        sum[i] = FromFloat<T>(ToFloat(sum[i]) + ToFloat(add[i]));
      }
      NormRow(static_cast<T*>(out.data) + t * hidden, sum, static_cast<const T*>(weight.data),
              hidden, eps);
    }
  });
}

}  // namespace tamis::cpu
