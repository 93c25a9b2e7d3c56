// SPDX-License-Identifier: Apache-2.0
// How ranks agree: small host messages. One of the project's two virtual interfaces.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tamis {

// Every rank calls the same methods in the same order from one thread. A wait that outlasts the
// timeout dies naming the call and the rank (a hang becomes a crash); the default is 60 s.
class Control {
 public:
  virtual ~Control() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Replaces *bytes on every other rank by rank 0's. Any length. Waiting costs little CPU: it
  // polls briefly, then sleeps between polls.
  virtual void Broadcast(std::string* bytes) = 0;

  // Every rank's bytes (any lengths), by rank, on every rank.
  virtual std::vector<std::string> AllGather(std::string_view bytes) = 0;

  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  std::chrono::milliseconds timeout() const { return timeout_; }

 private:
  std::chrono::milliseconds timeout_{60'000};
};

// Returns when every rank has called it.
void Barrier(Control& control);

// True if `mine` is true on every rank.
bool AllAgree(Control& control, bool mine);

}  // namespace tamis
