// SPDX-License-Identifier: Apache-2.0
// Rotary embedding and the write into the KV pages, in one pass over a token's fused QKV row.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/cpu/convert.h"

namespace tamis::cpu {
namespace {

constexpr int64_t kHalfMax = 256;  // half a head; ModelConfigProblem refuses more

struct Angles {
  std::array<float, kHalfMax> cosine;
  std::array<float, kHalfMax> sine;
};

void SetAngles(Angles& angles, int32_t position, const float* inv_freq, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * inv_freq[i];
    angles.cosine[static_cast<size_t>(i)] = std::cos(angle);
    angles.sine[static_cast<size_t>(i)] = std::sin(angle);
  }
}

template <typename T>
void Rotate(T* head, const Angles& angles, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float c = angles.cosine[static_cast<size_t>(i)];
    const float s = angles.sine[static_cast<size_t>(i)];
    const float a = ToFloat(head[i]);
    const float b = ToFloat(head[i + half]);
    head[i] = FromFloat<T>(a * c - b * s);
    head[i + half] = FromFloat<T>(b * c + a * s);
  }
}

}  // namespace

void RopeAndStoreKv(TensorView qkv, const KvPages& pages, ConstTensorView positions,
                    ConstTensorView token_slots, ConstTensorView inv_freq, int64_t q_heads_local,
                    const Stream&) {
  const int64_t size = pages.head_dim;
  const int64_t half = size / 2;
  CHECK_LE(half, kHalfMax);
  const int64_t slots = pages.num_blocks * pages.block_tokens;
  Angles angles;
  ForFloatType(qkv.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < qkv.shape[0]; ++t) {
      SetAngles(angles, positions.As<int32_t>()[t], inv_freq.As<float>(), half);
      T* row = static_cast<T*>(qkv.data) + t * qkv.row_stride;
      for (int64_t h = 0; h < q_heads_local + pages.kv_heads_local; ++h) {
        Rotate(row + h * size, angles, half);
      }
      const int64_t slot = token_slots.As<int32_t>()[t];
      if (slot < 0) continue;
      CHECK_LT(slot, slots) << "token " << t;
      const T* keys = row + q_heads_local * size;
      const T* values = keys + pages.kv_heads_local * size;
      T* page = static_cast<T*>(pages.data) + slot / pages.block_tokens * pages.block_stride() +
                slot % pages.block_tokens * size;
      for (int64_t h = 0; h < pages.kv_heads_local; ++h) {
        T* to = page + h * pages.head_stride();
        std::copy_n(keys + h * size, size, to);
        std::copy_n(values + h * size, size, to + pages.value_offset());
      }
    }
  });
}

void MatMulRopeAndStoreKv(TensorView qkv, ConstTensorView a, ConstTensorView weight,
                          const KvPages& pages, ConstTensorView positions,
                          ConstTensorView token_slots, ConstTensorView inv_freq,
                          int64_t q_heads_local, Scratch& scratch, const Stream& stream) {
  MatMul(qkv, a, weight, scratch, stream);
  RopeAndStoreKv(qkv, pages, positions, token_slots, inv_freq, q_heads_local, stream);
}

}  // namespace tamis::cpu
