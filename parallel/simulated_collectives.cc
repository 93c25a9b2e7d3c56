// SPDX-License-Identifier: Apache-2.0
#include "parallel/simulated_collectives.h"

#include <cstddef>

#include "kernels/check.h"

namespace tamis {

SimulatedCollectives::SimulatedCollectives(int rank, int size) : rank_(rank), size_(size) {
  CHECK(rank >= 0 && rank < size) << "rank " << rank << " of " << size;
}

void SimulatedCollectives::AllReduce(TensorView x, ReduceOp, const Stream&) {
  CHECK(x.contiguous()) << "all-reduce of a strided tensor";
  ++calls_[{Kind::kAllReduce, x.bytes()}];
}

void SimulatedCollectives::AllGather(TensorView out, ConstTensorView x, const Stream& stream) {
  CHECK(out.contiguous() && x.contiguous() && out.elements() == x.elements() * size_)
      << "all-gather of " << x.shape.ToString() << " into " << out.shape.ToString();
  ++calls_[{Kind::kAllGather, x.bytes()}];
  for (int w = 0; w < size_ && !x.empty(); ++w) {
    std::byte* part = static_cast<std::byte*>(out.data) + static_cast<size_t>(w) * x.bytes();
    CopyBytes(part, out.device, x.data, x.device, x.bytes(), stream);
  }
}

}  // namespace tamis
