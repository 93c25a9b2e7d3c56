// SPDX-License-Identifier: Apache-2.0
// Under ThreadSanitizer a test does what threads can do to each other, not every case of
// arithmetic: it is about ten times as slow, and the plain suite runs them all.
#pragma once

namespace tamis {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

// Whole heads and split ones; more counts run the same code between threads.
inline bool TestsRankCount(int size) { return !kThreadSanitizer || size == 2 || size == 5; }

}  // namespace tamis
