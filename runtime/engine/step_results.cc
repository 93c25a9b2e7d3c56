// SPDX-License-Identifier: Apache-2.0
// The tensors of results lie one after the other on the device, so that one copy brings them.
#include "runtime/engine/step_results.h"

#include "kernels/check.h"

namespace tamis {
namespace {

size_t BytesBetween(const TensorView& from, const TensorView& to) {
  CHECK(to.data >= from.data) << "results lie in order";
  return static_cast<size_t>(static_cast<const std::byte*>(to.data) -
                             static_cast<const std::byte*>(from.data));
}

}  // namespace

StepResults::StepResults(const Activations& act, DeviceKind device)
    : places_{Place(device), Place(device)},
      logprobs_(BytesBetween(act.sampled, act.logprobs)),
      top_tokens_(BytesBetween(act.sampled, act.top_tokens)),
      top_logprobs_(BytesBetween(act.sampled, act.top_logprobs)),
      num_top_(act.top_tokens.shape[1]) {
  const MemoryKind kind = device == DeviceKind::kCpu ? MemoryKind::kCpu : MemoryKind::kPinned;
  for (Place& place : places_) {
    place.host = Buffer(kind, top_logprobs_ + act.top_logprobs.bytes(), "step results");
  }
}

void StepResults::Queue(const Activations& act, int64_t num_rows, bool top, const Stream& stream) {
  Place& place = places_[next_queue_];
  next_queue_ = (next_queue_ + 1) % places_.size();
  place.num_rows = num_rows;
  if (num_rows > 0) {
    const size_t bytes = top ? place.host.bytes()
                             : logprobs_ + Rows(act.logprobs, 0, num_rows).bytes();
    CopyBytes(place.host.data(), DeviceKind::kCpu, act.sampled.data, act.sampled.device, bytes,
              stream);
  }
  place.arrived.Record(stream);
}

StepResult StepResults::Take() {
  const Place& place = places_[next_take_];
  next_take_ = (next_take_ + 1) % places_.size();
  place.arrived.Wait();
  const Shape rows{place.num_rows};
  const Shape top{place.num_rows, num_top_};
  const auto span = [](const auto* data, const TensorView& view) {
    return std::span(data, static_cast<size_t>(view.elements()));
  };
  const TensorView tokens = place.host.View(rows, DType::kI32, 0);
  const TensorView logprobs = place.host.View(rows, DType::kF32, logprobs_);
  const TensorView top_tokens = place.host.View(top, DType::kI32, top_tokens_);
  const TensorView top_logprobs = place.host.View(top, DType::kF32, top_logprobs_);
  StepResult result;
  result.tokens = span(tokens.As<int32_t>(), tokens);
  result.logprobs = span(logprobs.As<float>(), logprobs);
  result.num_top = num_top_;
  result.top_tokens = span(top_tokens.As<int32_t>(), top_tokens);
  result.top_logprobs = span(top_logprobs.As<float>(), top_logprobs);
  return result;
}

}  // namespace tamis
