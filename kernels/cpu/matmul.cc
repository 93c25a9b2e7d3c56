// SPDX-License-Identifier: Apache-2.0
// Matrix products: few rows by our own loop, which streams the weights, more through BLAS. 16-bit
// weights become float32 tile by tile, so that scratch does not grow with the matrix.
#include "kernels/cpu/matmul.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/backends.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/cpu_threads.h"

namespace tamis {

void SetCpuMathThreads(int num_threads) { openblas_set_num_threads(num_threads); }

namespace cpu {
namespace {

// out[m, n] = sum over k of a[m, k] * weight[n, k].
void Product(float* out, int64_t out_stride, const float* a, int64_t a_stride, const float* weight,
             int64_t m, int64_t n, int64_t k) {
  const auto narrow = [](int64_t x) { return static_cast<blasint>(x); };
  if (m == 0 || n == 0) return;
  const VectorLoops& loops = BestVectorLoops();
  if (m <= loops.few_rows) {
    loops.row_products(out, out_stride, a, a_stride, weight, m, n, k);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, narrow(m), narrow(n), narrow(k), 1.0f, a,
              narrow(a_stride), weight, narrow(k), 0.0f, out, narrow(out_stride));
}

template <typename T>
void ToFloats(float* to, const T* from, int64_t rows, int64_t columns, int64_t row_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[r * columns + c] = ToFloat(from[r * row_stride + c]);
  }
}

template <typename T>
void TiledProduct(TensorView out, ConstTensorView a, ConstTensorView weight, Scratch& scratch) {
  const int64_t m = a.shape[0];
  const int64_t n = weight.shape[0];
  const int64_t k = weight.shape[1];
  const ScratchScope scope(scratch);
  float* a_tile = scratch.Take({std::min(m, kMatMulTile), k}, DType::kF32).As<float>();
  float* w_tile = scratch.Take({std::min(n, kMatMulTile), k}, DType::kF32).As<float>();
  float* product = scratch.Take({kMatMulTile, kMatMulTile}, DType::kF32).As<float>();
  for (int64_t i = 0; i < m; i += kMatMulTile) {
    const int64_t rows = std::min(kMatMulTile, m - i);
    ToFloats(a_tile, static_cast<const T*>(a.data) + i * a.row_stride, rows, k, a.row_stride);
    for (int64_t j = 0; j < n; j += kMatMulTile) {
      const int64_t columns = std::min(kMatMulTile, n - j);
      ToFloats(w_tile, static_cast<const T*>(weight.data) + j * k, columns, k, k);
      Product(product, columns, a_tile, k, w_tile, rows, columns, k);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
          const int64_t element = (i + r) * out.row_stride + j + c;
          const float x = product[r * columns + c];
          if (out.dtype == DType::kF32) {
            static_cast<float*>(out.data)[element] = x;
          } else {
            static_cast<T*>(out.data)[element] = FromFloat<T>(x);
          }
        }
      }
    }
  }
}

}  // namespace

void MatMul(TensorView out, ConstTensorView a, ConstTensorView weight, Scratch& scratch,
            const Stream&) {
  switch (a.dtype) {
    case DType::kF16: TiledProduct<F16>(out, a, weight, scratch); return;
    case DType::kBF16: TiledProduct<BF16>(out, a, weight, scratch); return;
    default:
      Product(out.As<float>(), out.row_stride, a.As<float>(), a.row_stride, weight.As<float>(),
              a.shape[0], weight.shape[0], weight.shape[1]);
  }
}

}  // namespace cpu
}  // namespace tamis
