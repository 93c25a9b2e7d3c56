// SPDX-License-Identifier: Apache-2.0
// Expectations on absl::Status, whose own matchers are newer than the distribution's absl.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace tamis {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The result is an error of this code whose message holds every one of `parts`.
template <typename Result>
void ExpectError(const Result& result, absl::StatusCode code,
                 std::initializer_list<std::string> parts) {
  const absl::Status& status = StatusOf(result);
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(part));
  }
}

}  // namespace tamis

#define ASSERT_OK(expression)                                          \
  do {                                                                 \
    const auto& tamis_result = (expression);                           \
    ASSERT_TRUE(tamis_result.ok()) << ::tamis::StatusOf(tamis_result); \
  } while (false)
