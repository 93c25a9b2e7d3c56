// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace tamis {

// A number of places for streams, each held for as long as its pointer lives. Thread-safe; pointers
// may outlive the object.
class Places {
 public:
  explicit Places(int64_t count) : left_(std::make_shared<std::atomic<int64_t>>(count)) {}

  // RESOURCE_EXHAUSTED if none is left.
  absl::Status Take(std::shared_ptr<void>* place) {
    if (left_->fetch_sub(1) <= 0) {
      left_->fetch_add(1);
      return absl::ResourceExhaustedError("too many streams are open; read or cancel some");
    }
    *place = {left_.get(), [left = left_](void*) { left->fetch_add(1); }};
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<std::atomic<int64_t>> left_;
};

}  // namespace tamis
