// SPDX-License-Identifier: Apache-2.0
// Stop strings are few and short, so each piece is searched plainly.
#include "runtime/server/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tamis {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

std::string StopMatcher::Push(std::string_view piece) {
  if (matched_) return "";
  held_ += piece;
  // The first position at which a stop string stands whole, and the first at which one may still
  // become whole. An earlier open candidate delays a later whole match: it would win.
  size_t whole = std::string::npos;
  size_t open = held_.size();
  for (const std::string& stop : stops_) {
    whole = std::min(whole, held_.find(stop));
    const size_t longest = std::min(stop.size() - 1, held_.size());
    for (size_t length = longest; length > 0; --length) {
      const size_t begin = held_.size() - length;
      if (begin >= open) break;
      if (held_.compare(begin, length, stop, 0, length) == 0) open = begin;
    }
  }
  if (whole <= open) {
    matched_ = true;
    held_.resize(whole);
    return std::exchange(held_, "");
  }
  std::string out = held_.substr(0, open);
  held_.erase(0, open);
  return out;
}

std::string StopMatcher::Finish() {
  if (matched_) return "";
  // An open candidate that never became whole may have hidden a whole match behind it.
  size_t whole = std::string::npos;
  for (const std::string& stop : stops_) whole = std::min(whole, held_.find(stop));
  if (whole != std::string::npos) {
    matched_ = true;
    held_.resize(whole);
  }
  return std::exchange(held_, "");
}

}  // namespace tamis
