// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/weight_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/convert.h"

namespace tamis {
namespace {

// Rows are produced in runs of about this many bytes: enough for the link, little to hold twice.
constexpr size_t kRunBytes = WeightWriter::kStagingBytes / 2;

}  // namespace

void StoreFloats(std::span<const float> values, DType dtype, std::byte* out) {
  cpu::ForFloatType(dtype, [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < values.size(); ++i) {
      const T value = cpu::FromFloat<T>(values[i]);
      std::memcpy(out + i * sizeof(T), &value, sizeof(T));
    }
  });
}

WeightWriter::WeightWriter(DeviceKind device, const Stream& stream)
    : device_(device),
      stream_(stream),
      staging_{{Buffer(), Event(device)}, {Buffer(), Event(device)}} {}

WeightWriter::~WeightWriter() { stream_.Synchronize(); }

WeightWriter::Staging& WeightWriter::NextStaging(size_t bytes) {
  Staging& staging = staging_[next_];
  next_ = 1 - next_;
  staging.sent.Wait();
  if (staging.buffer.bytes() < bytes) {
    staging.buffer = Buffer(MemoryKind::kPinned, bytes, "weight staging");
  }
  return staging;
}

void WeightWriter::Write(const TensorView& target, const Produce& produce) {
  CHECK_EQ(target.shape.rank(), 2);
  CHECK(target.contiguous() && target.device == device_);
  const int64_t rows = target.shape[0];
  const size_t row_bytes = static_cast<size_t>(target.shape[1]) * DTypeBytes(target.dtype);
  const int64_t run_rows =
      std::max<int64_t>(1, static_cast<int64_t>(kRunBytes / std::max<size_t>(row_bytes, 1)));
  for (int64_t row = 0; row < rows; row += run_rows) {
    const int64_t count = std::min(run_rows, rows - row);
    const size_t bytes = static_cast<size_t>(count) * row_bytes;
    std::byte* place = static_cast<std::byte*>(target.data) + static_cast<size_t>(row) * row_bytes;
    if (device_ == DeviceKind::kCpu) {
      produce(row, count, place);
      continue;
    }
    Staging& staging = NextStaging(std::max(bytes, kRunBytes));
    produce(row, count, static_cast<std::byte*>(staging.buffer.data()));
    CopyBytes(place, device_, staging.buffer.data(), DeviceKind::kCpu, bytes, stream_);
    staging.sent.Record(stream_);
  }
}

}  // namespace tamis
