// SPDX-License-Identifier: Apache-2.0
// CHECK: invariants whose violation means a broken process. A failed check prints rank, site and
// message, then aborts, because a rank that goes on alone leaves the others in a collective.
#pragma once

#include <source_location>
#include <sstream>
#include <string_view>

namespace tamis {

// Names this rank in every later failure message of this thread and of threads that never called
// it. Loopback ranks are threads, so the value is per thread with a process-wide fallback.
void SetFailureRank(int rank);
int FailureRank();  // -1 before SetFailureRank

// Prints "[rank R] FILE:LINE FUNCTION: message" to stderr and aborts.
[[noreturn]] void Die(std::string_view message,
                      std::source_location site = std::source_location::current());

// Collects a streamed message; dies at the end of the full expression. Use through CHECK.
class CheckFailure {
 public:
  CheckFailure(const char* condition, std::source_location site) : site_(site) {
    message_ << "CHECK failed: " << condition << ' ';
  }
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure() { Die(message_.str(), site_); }
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
  std::source_location site_;
};

}  // namespace tamis

// Always on, in every build type. The condition must have no side effects.
#define CHECK(condition)      \
  if (condition) [[likely]] { \
  } else                      \
    ::tamis::CheckFailure(#condition, std::source_location::current()).stream()

#define TAMIS_CHECK_OP(a, op, b)                                                       \
  if ((a)op(b)) [[likely]] {                                                           \
  } else                                                                               \
    ::tamis::CheckFailure(#a " " #op " " #b, std::source_location::current()).stream() \
        << "(" << (a) << " vs. " << (b) << ") "

#define CHECK_EQ(a, b) TAMIS_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) TAMIS_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) TAMIS_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) TAMIS_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) TAMIS_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) TAMIS_CHECK_OP(a, >=, b)
