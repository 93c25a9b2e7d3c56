// SPDX-License-Identifier: Apache-2.0
// Start-up errors over ranks, with ranks as threads.
#include "launcher/agree.h"

#include <array>
#include <string>

#include "gtest/gtest.h"
#include "parallel/groups.h"

namespace tamis {
namespace {

TEST(Agree, OneRanksErrorIsEveryRanksError) {
  std::array<absl::Status, 3> statuses;
  RunLoopback(3, [&](int rank, Group& group) {
    const absl::Status mine =
        rank == 0 ? absl::OkStatus() : absl::DataLossError("broken at " + std::to_string(rank));
    statuses[static_cast<size_t>(rank)] = AgreeOnStatus(*group.control, mine);
  });
  for (const absl::Status& status : statuses) {
    EXPECT_EQ(status, absl::DataLossError("rank 1: broken at 1"));
  }
}

TEST(Agree, AnErrorOfAllIsToldOnce) {
  RunLoopback(2, [&](int, Group& group) {
    EXPECT_EQ(AgreeOnStatus(*group.control, absl::NotFoundError("m: not there")),
              absl::NotFoundError("m: not there"));
    EXPECT_TRUE(AgreeOnStatus(*group.control, absl::OkStatus()).ok());
  });
}

TEST(Agree, TextsThatDifferAreNamed) {
  RunLoopback(3, [&](int rank, Group& group) {
    EXPECT_TRUE(AgreeOnText(*group.control, "a: 1\nb: 2").ok());
    const absl::Status status =
        AgreeOnText(*group.control, rank == 2 ? "a: 1\nb: 3" : "a: 1\nb: 2");
    EXPECT_EQ(status.message(), "ranks disagree: rank 0 has \"b: 2\", rank 2 has \"b: 3\"");
  });
}

}  // namespace
}  // namespace tamis
