// SPDX-License-Identifier: Apache-2.0
// One rank, alone: nobody to agree with. Takes tensors on any device.
#include "parallel/groups.h"
#include "parallel/reduce.h"

namespace tamis {
namespace {

class SelfControl final : public Control {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void Broadcast(std::string*) override {}
  std::vector<std::string> AllGather(std::string_view bytes) override {
    return {std::string(bytes)};
  }
};

class SelfCollectives final : public Collectives {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  bool capturable() const override { return true; }  // at most a copy
  void AllReduce(TensorView x, ReduceOp, const Stream&) override { CheckReducible(x, x.device); }
  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    CheckGatherable(out, x, size(), x.device);
    if (!x.empty()) CopyBytes(out.data, out.device, x.data, x.device, x.bytes(), stream);
  }
};

}  // namespace

Group MakeSelfGroup() {
  return {std::make_unique<SelfControl>(), std::make_unique<SelfCollectives>()};
}

}  // namespace tamis
