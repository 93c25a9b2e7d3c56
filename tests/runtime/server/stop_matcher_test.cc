// SPDX-License-Identifier: Apache-2.0
// Streams split at random must give what a search over the whole text gives.
#include "runtime/server/stop_matcher.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tamis {
namespace {

// What the contract says, over the whole text at once.
std::string Expected(const std::string& text, const std::vector<std::string>& stops,
                     bool* matched) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  *matched = first != std::string::npos;
  return text.substr(0, first);
}

TEST(StopMatcher, NoStopsPassesThrough) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("abc"), "abc");
  EXPECT_EQ(matcher.Push(""), "");
  EXPECT_EQ(matcher.Finish(), "");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcher, HoldsBackWhatMayBeginAStop) {
  StopMatcher matcher({"\n\nUser"});
  EXPECT_EQ(matcher.Push("hello\n"), "hello");
  EXPECT_EQ(matcher.Push("\nUs"), "");
  EXPECT_EQ(matcher.Push("ually"), "\n\nUsually");
  EXPECT_EQ(matcher.Push("\n\nUser: hi"), "");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, HeldTextComesOutAtTheEnd) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Push("the EN"), "the ");
  EXPECT_EQ(matcher.Finish(), "EN");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcher, EarliestMatchWins) {
  StopMatcher matcher({"bc", "abcd"});
  EXPECT_EQ(matcher.Push("xabc"), "x");  // "abcd" begins earlier and may still come
  EXPECT_FALSE(matcher.matched());
  EXPECT_EQ(matcher.Push("e"), "a");  // it did not: "bc" it is
  EXPECT_TRUE(matcher.matched());

  StopMatcher ended({"bc", "abcd"});
  EXPECT_EQ(ended.Push("xabc"), "x");
  EXPECT_EQ(ended.Finish(), "a");
  EXPECT_TRUE(ended.matched());
}

TEST(StopMatcher, RandomSplitsAgreeWithSearchingTheWholeText) {
  std::mt19937 random(20240531);
  int matches = 0;
  for (int round = 0; round < 20'000; ++round) {
    const auto letters = [&](size_t length) {
      std::string text;
      for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 3);
      return text;
    };
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) stop = letters(1 + random() % 6);
    const std::string text = letters(random() % 40);

    StopMatcher matcher(stops);
    std::string got;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 5;
      got += matcher.Push(text.substr(at, length));
      at += length;
      // Never shows what could still become part of a stop string.
      bool would_match = false;
      const std::string limit = Expected(text, stops, &would_match);
      ASSERT_TRUE(limit.starts_with(got)) << text;
    }
    got += matcher.Finish();
    bool matched = false;
    ASSERT_EQ(got, Expected(text, stops, &matched)) << text;
    ASSERT_EQ(matcher.matched(), matched) << text;
    matches += matched ? 1 : 0;
  }
  EXPECT_GT(matches, 1000);
  EXPECT_LT(matches, 19'000);
}

}  // namespace
}  // namespace tamis
