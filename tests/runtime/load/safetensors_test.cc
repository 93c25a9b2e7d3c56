// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/safetensors.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "tests/runtime/load/file_builders.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

using absl::StatusCode;
using testing::ElementsAre;

absl::StatusOr<std::vector<SafetensorsEntry>> Parse(const std::string& bytes) {
  return ParseSafetensors(AsBytes(bytes), "a.safetensors");
}

TEST(Safetensors, EntriesComeInTheOrderOfTheirData) {
  const std::string bytes = SafetensorsBytes(
      R"({"__metadata__": {"format": "pt"},
          "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [8, 20]},
          "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
          "empty": {"dtype": "F32", "shape": [0, 5], "data_offsets": [8, 8]},
          "scalar": {"dtype": "U8", "shape": [], "data_offsets": [20, 21]}}   )",
      "01234567abcdefghijkl!");
  const auto entries = Parse(bytes);
  ASSERT_OK(entries);
  ASSERT_EQ(entries->size(), 4u);
  EXPECT_EQ((*entries)[0].name, "b");
  EXPECT_EQ((*entries)[1].name, "empty");
  EXPECT_EQ((*entries)[2].name, "a");
  EXPECT_EQ((*entries)[2].dtype, "F16");
  EXPECT_THAT((*entries)[2].sizes, ElementsAre(2, 3));
  EXPECT_EQ(static_cast<char>((*entries)[2].data[0]), 'a');
  EXPECT_EQ((*entries)[3].data.size(), 1u);
}

TEST(Safetensors, TheFixtureIsRead) {
  const std::string bytes = ReadFile(FixturePath("tiny/model.safetensors"));
  const auto entries = Parse(bytes);
  ASSERT_OK(entries);
  EXPECT_EQ(entries->size(), 3u + 2u * 9u);
}

TEST(SafetensorsErrors, NameFileTensorAndReason) {
  const struct {
    const char* what;
    const char* header;
    StatusCode code;
    const char* part;
  } kBad[] = {
      {"not JSON", "{", StatusCode::kDataLoss, "not a JSON object"},
      {"a list", "[]", StatusCode::kDataLoss, "not a JSON object"},
      {"entry", R"({"t": 3})", StatusCode::kDataLoss, "\"t\" is not a JSON object"},
      {"dtype missing", R"({"t": {"shape": [2], "data_offsets": [0, 8]}})", StatusCode::kDataLoss,
       "dtype"},
      {"dtype", R"({"t": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}})",
       StatusCode::kInvalidArgument, "unknown dtype \"F31\""},
      {"shape missing", R"({"t": {"dtype": "F32", "data_offsets": [0, 8]}})", StatusCode::kDataLoss,
       "shape"},
      {"negative size", R"({"t": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "shape"},
      {"fraction", R"({"t": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "shape"},
      {"huge size",
       R"({"t": {"dtype": "F32", "shape": [4611686018427387904, 8], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "impossible shape"},
      {"past int64",
       R"({"t": {"dtype": "F32", "shape": [18446744073709551615], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "shape"},
      {"one offset", R"({"t": {"dtype": "F32", "shape": [2], "data_offsets": [8]}})",
       StatusCode::kDataLoss, "data_offsets"},
      {"backwards", R"({"t": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}})",
       StatusCode::kDataLoss, "data_offsets"},
      {"past the end", R"({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})",
       StatusCode::kDataLoss, "truncated or corrupt: tensor \"t\""},
      {"mismatch", R"({"t": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "takes 8 bytes, but its shape and dtype need 12"},
      {"overlap",
       R"({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
           "u": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
       StatusCode::kDataLoss, "overlap"},
      {"gap", R"({"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
       StatusCode::kDataLoss, "bytes 0 to 4 of the data belong to no tensor"},
      {"tail", R"({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
       StatusCode::kDataLoss, "the data has 8 bytes, but the tensors end at byte 4"},
      {"twice",
       R"({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
           "t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})",
       StatusCode::kDataLoss, "\"t\" appears twice"},
  };
  for (const auto& bad : kBad) {
    SCOPED_TRACE(bad.what);
    ExpectError(Parse(SafetensorsBytes(bad.header, "12345678")), bad.code,
                {"a.safetensors: ", bad.part});
  }
}

TEST(SafetensorsErrors, HeaderLengthIsChecked) {
  const std::string deep = "{\"t\": " + std::string(300'000, '[') + std::string(300'000, ']') + "}";
  ExpectError(Parse(SafetensorsBytes(deep, "12345678")), StatusCode::kDataLoss,
              {"not a JSON object"});
  ExpectError(Parse("1234567"), StatusCode::kDataLoss, {"only 7 bytes"});
  ExpectError(Parse(Raw<uint64_t>(3) + "{}"), StatusCode::kDataLoss, {"header would take 3"});
  ExpectError(Parse(Raw(std::numeric_limits<uint64_t>::max()) + "{}"), StatusCode::kDataLoss,
              {"header would take"});
}

TEST(SafetensorsErrors, EveryTruncationIsRefused) {
  const std::string whole = ReadFile(FixturePath("tiny/model.safetensors"));
  for (size_t size = 0; size < whole.size(); size = size < 3000 ? size + 1 : size + 997) {
    EXPECT_FALSE(Parse(whole.substr(0, size)).ok()) << size << " bytes";
  }
}

}  // namespace
}  // namespace tamis
