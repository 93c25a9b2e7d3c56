// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of one host share. Anonymous (a memfd that peers open through /proc), so
// that nothing is left behind however a rank ends, and reserved at creation, so that a full host
// shows there and not as a SIGBUS later.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "parallel/control.h"
#include "parallel/world.h"

namespace tamis {

// Owns one mapping, zero-filled when created. Move-only.
class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::byte* data() const { return data_; }  // page-aligned; nullptr if there is none
  size_t bytes() const { return bytes_; }

 private:
  friend SharedMemory ShareOnHost(const World& world, Control& control, size_t bytes);
  static SharedMemory Map(int fd, size_t bytes);

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Collective over all ranks of `control`: the rank with local_rank 0 of each host creates a region
// that its host's other ranks map. A rank that cannot map one gets an empty SharedMemory: the
// caller has to agree with its peers on what that means.
SharedMemory ShareOnHost(const World& world, Control& control, size_t bytes);

}  // namespace tamis
