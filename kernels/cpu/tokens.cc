// SPDX-License-Identifier: Apache-2.0
// Moving tokens and rows about.
#include <algorithm>
#include <cstring>

#include "kernels/backends.h"
#include "kernels/check.h"

namespace tamis::cpu {
namespace {

std::byte* RowOf(const TensorView& x, int64_t row) {
  return static_cast<std::byte*>(x.data) +
         static_cast<size_t>(row * x.row_stride) * DTypeBytes(x.dtype);
}
const std::byte* RowOf(const ConstTensorView& x, int64_t row) {
  return static_cast<const std::byte*>(x.data) +
         static_cast<size_t>(row * x.row_stride) * DTypeBytes(x.dtype);
}
size_t RowBytes(const ConstTensorView& x) {
  return static_cast<size_t>(x.shape[1]) * DTypeBytes(x.dtype);
}

}  // namespace

void ResolveTokens(TensorView out, ConstTensorView token_ids, ConstTensorView from_slot,
                   ConstTensorView slot_tokens, const Stream&) {
  const int32_t* ids = token_ids.As<int32_t>();
  const int32_t* from = from_slot.As<int32_t>();
  const int32_t* sampled = slot_tokens.As<int32_t>();
  int32_t* to = out.As<int32_t>();
  for (int64_t t = 0; t < out.shape[0]; ++t) {
    CHECK_LT(from[t], slot_tokens.shape[0]);
    to[t] = from[t] >= 0 ? sampled[from[t]] : ids[t];
  }
}

void StoreSlotTokens(TensorView slot_tokens, ConstTensorView slots, ConstTensorView tokens,
                     const Stream&) {
  const int32_t* slot = slots.As<int32_t>();
  const int32_t* token = tokens.As<int32_t>();
  for (int64_t s = 0; s < slots.shape[0]; ++s) {
    CHECK_LT(slot[s], slot_tokens.shape[0]);
    if (slot[s] >= 0) slot_tokens.As<int32_t>()[slot[s]] = token[s];
  }
}

void Embedding(TensorView out, ConstTensorView table, ConstTensorView token_ids,
               int64_t vocab_begin, const Stream&) {
  const int32_t* ids = token_ids.As<int32_t>();
  for (int64_t t = 0; t < out.shape[0]; ++t) {
    const int64_t row = ids[t] - vocab_begin;
    if (row >= 0 && row < table.shape[0]) {
      std::memcpy(RowOf(out, t), RowOf(table, row), RowBytes(out));
    } else {
      std::memset(RowOf(out, t), 0, RowBytes(out));
    }
  }
}

void GatherRows(TensorView out, ConstTensorView x, ConstTensorView rows, const Stream&) {
  const int32_t* row = rows.As<int32_t>();
  for (int64_t s = 0; s < out.shape[0]; ++s) {
    CHECK_LT(row[s], x.shape[0]);
    if (row[s] >= 0) {
      std::memcpy(RowOf(out, s), RowOf(x, row[s]), RowBytes(out));
    } else {
      std::memset(RowOf(out, s), 0, RowBytes(out));
    }
  }
}

void RowsOfPositions(TensorView list_rows, const SelectionView& selection,
                     ConstTensorView block_table, int64_t block_tokens, int64_t rows_per_block,
                     const Stream&) {
  const int64_t selection_rows = list_rows.shape[1];
  const int64_t k_max = list_rows.shape[2];
  const int64_t blocks_max = block_table.shape[1];
  for (int64_t s = 0; s < list_rows.shape[0]; ++s) {
    const int32_t* blocks = block_table.As<int32_t>() + s * blocks_max;
    const int64_t count = selection.count.As<int32_t>()[s];
    CHECK_LE(count, k_max);
    for (int64_t h = 0; h < selection_rows; ++h) {
      const int64_t row = (s * selection_rows + h) * k_max;
      const int32_t* positions = selection.positions.As<int32_t>() + row;
      int32_t* rows = list_rows.As<int32_t>() + row;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t block = positions[i] / block_tokens;
        CHECK(positions[i] >= 0 && block < blocks_max) << "position " << positions[i];
        rows[i] =
            static_cast<int32_t>(blocks[block] * rows_per_block + positions[i] % block_tokens);
      }
      std::fill(rows + count, rows + k_max, 0);
    }
  }
}

void ConcatVocab(TensorView out, ConstTensorView gathered, ConstTensorView offsets, const Stream&) {
  const int64_t ranks = gathered.shape[0];
  const int64_t sequences = gathered.shape[1];
  const int64_t padded = gathered.shape[2];
  const int64_t vocab = out.shape[1];
  const int32_t* offset = offsets.As<int32_t>();
  CHECK(offset[0] == 0 && offset[ranks] == vocab) << "offsets do not cover the vocabulary";
  for (int64_t w = 0; w < ranks; ++w) {
    const int64_t width = offset[w + 1] - offset[w];
    CHECK(width >= 0 && width <= padded) << "slice of rank " << w << ": " << width;
    for (int64_t s = 0; s < sequences; ++s) {
      std::copy_n(gathered.As<float>() + (w * sequences + s) * padded, width,
                  out.As<float>() + s * vocab + offset[w]);
    }
  }
}

}  // namespace tamis::cpu
