// SPDX-License-Identifier: Apache-2.0
#include "parallel/timed_collectives.h"

#include <chrono>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

class TimedCollectives final : public Collectives {
 public:
  TimedCollectives(std::unique_ptr<Collectives> inner, std::function<void(double)> observe)
      : inner_(std::move(inner)), observe_(std::move(observe)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool capturable() const override { return false; }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    Timed([&] { inner_->AllReduce(x, op, stream); });
  }
  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    inner_->AllGather(out, x, stream);
  }
  void AllReduceAddRmsNorm(TensorView out, TensorView residual, TensorView x,
                           ConstTensorView weight, float eps, const Stream& stream) override {
    Timed([&] { inner_->AllReduceAddRmsNorm(out, residual, x, weight, eps, stream); });
  }

 private:
  template <typename Call>
  void Timed(const Call& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    observe_(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  const std::unique_ptr<Collectives> inner_;
  const std::function<void(double)> observe_;
};

}  // namespace

std::unique_ptr<Collectives> TimeAllReduces(std::unique_ptr<Collectives> inner,
                                            std::function<void(double seconds)> observe) {
  CHECK(!inner->capturable()) << "a captured call is over before its work begins";
  return std::make_unique<TimedCollectives>(std::move(inner), std::move(observe));
}

}  // namespace tamis
