// SPDX-License-Identifier: Apache-2.0
// Random values that depend on their place alone. A Philox block gives four columns.
#include "kernels/backends.h"
#include "kernels/cpu/convert.h"
#include "kernels/philox.h"

namespace tamis::cpu {

void FillRandom(TensorView out, uint64_t key, int64_t row_begin, int64_t column_begin, float mean,
                float reach, const Stream&) {
  ForFloatType(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* to = static_cast<T*>(out.data);
    for (int64_t row = row_begin; row < row_begin + out.shape[0]; ++row) {
      int64_t column = column_begin;
      const int64_t end = column_begin + out.shape[1];
      while (column < end) {
        const PhiloxBlock block =
            Philox(key, static_cast<uint64_t>(column / 4), static_cast<uint64_t>(row));
        for (int64_t word = column % 4; word < 4 && column < end; ++word, ++column, ++to) {
          *to = FromFloat<T>(mean + reach * (2.0f * UniformOpen(block.word[word]) - 1.0f));
        }
      }
    }
  });
}

}  // namespace tamis::cpu
