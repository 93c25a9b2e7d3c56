// SPDX-License-Identifier: Apache-2.0
// Named spans of host time for profilers (NVTX). Nothing without CUDA, next to nothing without a
// profiler.
#pragma once

namespace tamis {

// From construction to destruction, on this thread; ranges nest.
class TraceRange {
 public:
  explicit TraceRange(const char* name);
  ~TraceRange();
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

}  // namespace tamis
