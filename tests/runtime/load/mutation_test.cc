// SPDX-License-Identifier: Apache-2.0
// The fuzz targets' entries over mutated fixtures: deterministic, so that every build runs the same
// 20,000 broken files, with or without libFuzzer.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/runtime/load/file_builders.h"
#include "tests/runtime/load/fuzz_entries.h"

namespace tamis {
namespace {

constexpr int kMutations = 10000;  // of each format

// Values that break size arithmetic.
constexpr uint64_t kEdges[] = {0,
                               1,
                               2,
                               31,
                               33,
                               255,
                               65535,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               0x7fffffffffffffff,
                               0x8000000000000000,
                               0xffffffffffffffff,
                               0x4000000000000000,
                               0x100000000};

// Changes `text` in one to four places, most of them in its first `head_bytes`.
void Mutate(std::mt19937_64& random, size_t head_bytes, std::string& text) {
  const auto below = [&](size_t end) { return static_cast<size_t>(random() % end); };
  for (size_t i = below(4) + 1; i > 0 && !text.empty(); --i) {
    const size_t reach = below(8) == 0 ? text.size() : std::min(head_bytes, text.size());
    const size_t at = below(reach);
    switch (below(6)) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text[at] = static_cast<char>(text[at] ^ (1 << below(8))); break;
      case 2: {
        const uint64_t edge = kEdges[below(std::size(kEdges))];
        std::memcpy(text.data() + at, &edge, std::min<size_t>(text.size() - at, 4 + 4 * below(2)));
        break;
      }
      case 3: text.erase(at, below(16) + 1); break;
      case 4: text.insert(at, text.substr(below(text.size()), below(64))); break;
      default:
        if (below(4) == 0) text.resize(at);
        break;
    }
  }
}

struct Counts {
  int refused = 0;
  int parsed = 0;
  int loaded = 0;
};

Counts RunMutations(const std::string& seed_file, size_t head_bytes,
                    FuzzDepth (*entry)(std::span<const std::byte>)) {
  std::mt19937_64 random(20260101);
  Counts counts;
  for (int i = 0; i < kMutations; ++i) {
    std::string text = seed_file;
    Mutate(random, head_bytes, text);
    // An exact allocation, so that a sanitizer sees a read one byte past the end.
    const std::vector<char> exact(text.begin(), text.end());
    const FuzzDepth depth = entry(std::as_bytes(std::span(exact)));
    counts.refused += depth == FuzzDepth::kRefused;
    counts.parsed += depth == FuzzDepth::kParsed;
    counts.loaded += depth == FuzzDepth::kLoaded;
  }
  return counts;
}

TEST(Mutations, Gguf) {
  const std::string seed_file = ReadFile(FixturePath("tiny.gguf"));
  ASSERT_EQ(FuzzGguf(AsBytes(seed_file)), FuzzDepth::kLoaded);
  const Counts counts = RunMutations(seed_file, 2400, FuzzGguf);
  // The mutations reach every depth, else they would test less than they seem to.
  EXPECT_GT(counts.refused, kMutations / 10);
  EXPECT_GT(counts.parsed, kMutations / 100);
  EXPECT_GT(counts.loaded, kMutations / 100);
}

TEST(Mutations, Safetensors) {
  const std::string seed_file = ReadFile(FixturePath("tiny/model.safetensors"));
  ASSERT_EQ(FuzzSafetensors(AsBytes(seed_file)), FuzzDepth::kLoaded);
  const Counts counts = RunMutations(seed_file, 2200, FuzzSafetensors);
  EXPECT_GT(counts.refused, kMutations / 10);
  EXPECT_GT(counts.loaded, kMutations / 100);
}

}  // namespace
}  // namespace tamis
