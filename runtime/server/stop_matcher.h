// SPDX-License-Identifier: Apache-2.0
// Finds stop strings in a stream of text. Text that may be the beginning of a stop string is held
// back until it is known not to be one, so no client ever sees a part of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tamis {

// One per sequence, used by one thread.
class StopMatcher {
 public:
  // None of `stops` is empty. Without any, text passes through.
  explicit StopMatcher(std::vector<std::string> stops);

  // Takes the next piece and returns what may be shown. The match that begins first wins; of two
  // that begin together, the shorter. After a match nothing more comes out.
  std::string Push(std::string_view piece);

  // At the end of the stream: what was held back, which turned out to be no stop string.
  std::string Finish();

  bool matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;  // may begin a stop string
  bool matched_ = false;
};

}  // namespace tamis
