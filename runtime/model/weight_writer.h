// SPDX-License-Identifier: Apache-2.0
// Fills weight tensors from the host, wherever they live: on the CPU in place, on a CUDA device
// through two small pinned buffers, so that a model never exists twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace tamis {

// Rounds floats to `dtype` (f32, f16, bf16).
void StoreFloats(std::span<const float> values, DType dtype, std::byte* out);

// `stream` outlives the writer. Not thread-safe.
class WeightWriter {
 public:
  // Writes rows [first_row, first_row + num_rows) in the target's dtype, contiguously, to `out`.
  using Produce = std::function<void(int64_t first_row, int64_t num_rows, std::byte* out)>;

  // Pinned memory that it takes where the target is on a GPU, unless one row needs more.
  static constexpr size_t kStagingBytes = size_t{8} << 20;

  WeightWriter(DeviceKind device, const Stream& stream);
  ~WeightWriter();  // waits until everything written has arrived
  WeightWriter(const WeightWriter&) = delete;
  WeightWriter& operator=(const WeightWriter&) = delete;

  // Calls `produce` for consecutive runs of rows until `target`, 2-D and contiguous, is full.
  void Write(const TensorView& target, const Produce& produce);

 private:
  struct Staging {
    Buffer buffer;
    Event sent;  // when the buffer may be overwritten
  };
  Staging& NextStaging(size_t bytes);

  DeviceKind device_;
  const Stream& stream_;
  Staging staging_[2];
  int next_ = 0;
};

}  // namespace tamis
