// SPDX-License-Identifier: Apache-2.0
// Decoded rows against the values of the `gguf` package (make_fixtures.py).
#include "runtime/load/block_formats.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/runtime/load/file_builders.h"

namespace tamis {
namespace {

struct Fixture {
  StoredType type;
  int64_t elements;
};
constexpr Fixture kFixtures[] = {{StoredType::kQ4_0, 96}, {StoredType::kQ4_1, 96},
                                 {StoredType::kQ8_0, 96}, {StoredType::kQ6_K, 512},
                                 {StoredType::kBF16, 40}, {StoredType::kF16, 40}};

// An encoded row and what it must decode to.
struct Row {
  std::string encoded;
  std::vector<float> decoded;
};

Row ReadRow(const Fixture& fixture) {
  const BlockFormat format = BlockFormatOf(fixture.type);
  const size_t bytes = static_cast<size_t>(fixture.elements / format.elements) * format.bytes;
  std::string file = ReadFile(FixturePath(std::string(StoredTypeName(fixture.type)) + ".bin"));
  Row row;
  row.decoded.resize(static_cast<size_t>(fixture.elements));
  EXPECT_EQ(file.size(), bytes + row.decoded.size() * sizeof(float));
  std::memcpy(row.decoded.data(), file.data() + bytes, row.decoded.size() * sizeof(float));
  row.encoded = file.substr(0, bytes);
  return row;
}

TEST(BlockFormats, DecodeWhatThePackageDecodes) {
  for (const Fixture& fixture : kFixtures) {
    const Row row = ReadRow(fixture);
    std::vector<float> out(row.decoded.size(), std::nanf(""));
    DecodeRow(fixture.type, AsBytes(row.encoded), {0, fixture.elements}, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      // The same products and sums in float32: equal, not near.
      EXPECT_EQ(out[i], row.decoded[i]) << StoredTypeName(fixture.type) << " element " << i;
    }
  }
}

TEST(BlockFormats, AnyRangeOfColumnsEqualsThatPartOfTheRow) {
  for (const Fixture& fixture : kFixtures) {
    const Row row = ReadRow(fixture);
    for (int64_t begin = 0; begin <= fixture.elements; begin += 7) {
      for (int64_t count : {int64_t{0}, int64_t{1}, int64_t{31}, int64_t{33}, int64_t{300}}) {
        if (begin + count > fixture.elements) continue;
        std::vector<float> out(static_cast<size_t>(count) + 1, -12345.0f);
        DecodeRow(fixture.type, AsBytes(row.encoded), {begin, count}, out.data());
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          ASSERT_EQ(out[i], row.decoded[static_cast<size_t>(begin) + i])
              << StoredTypeName(fixture.type) << " column " << begin << "+" << i;
        }
        ASSERT_EQ(out.back(), -12345.0f) << "wrote past the range";
      }
    }
  }
}

TEST(BlockFormats, F32IsCopied) {
  const std::vector<float> values = {1.5f, -0.0f, std::numeric_limits<float>::denorm_min(), 3e38f};
  float out[3] = {};
  DecodeRow(StoredType::kF32, std::as_bytes(std::span<const float>(values)), {1, 3}, out);
  EXPECT_EQ(std::memcmp(out, values.data() + 1, sizeof out), 0);
}

TEST(BlockFormatsDeathTest, ARangePastTheRowDies) {
  float out[64];
  const std::string row(34, '\0');
  EXPECT_DEATH(DecodeRow(StoredType::kQ8_0, AsBytes(row), {0, 33}, out), "columns 0\\+33");
}

}  // namespace
}  // namespace tamis
