// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/gguf.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/runtime/load/file_builders.h"
#include "tests/runtime/load/status_matchers.h"

namespace tamis {
namespace {

using absl::StatusCode;
using testing::ElementsAre;

constexpr uint32_t kTypeF32 = 0;
constexpr uint32_t kTypeQ8_0 = 8;

absl::StatusOr<GgufFile> ParseGguf(const std::string& bytes) {
  return GgufFile::Parse(AsBytes(bytes), "a.gguf");
}

TEST(GgufMetadata, EveryValueTypeIsRead) {
  GgufBuilder builder;
  builder.Key("u8", kGgufU8, Raw<uint8_t>(200))
      .Key("i8", kGgufI8, Raw<int8_t>(-100))
      .Key("u16", kGgufU16, Raw<uint16_t>(60000))
      .Key("i16", kGgufI16, Raw<int16_t>(-30000))
      .Key("u32", kGgufU32, Raw<uint32_t>(4000000000))
      .Key("i32", kGgufI32, Raw<int32_t>(-2000000000))
      .Key("u64", kGgufU64, Raw<uint64_t>(std::numeric_limits<uint64_t>::max()))
      .Key("i64", kGgufI64, Raw<int64_t>(-5))
      .Key("f32", kGgufF32, Raw(1.25f))
      .Key("f64", kGgufF64, Raw(1e300))
      .Key("yes", kGgufBool, Raw<uint8_t>(1))
      .Key("no", kGgufBool, Raw<uint8_t>(0))
      .Key("text", kGgufString, GgufString("a\nb"))
      .Array("texts", kGgufString, 2, GgufString("x") + GgufString(""))
      .Array("ints", kGgufI32, 3, Raw<int32_t>(1) + Raw<int32_t>(-2) + Raw<int32_t>(3))
      .Array("bytes", kGgufU8, 2, Raw<uint8_t>(7) + Raw<uint8_t>(255))
      .Array("floats", kGgufF32, 2, Raw(0.5f) + Raw(-1.0f))
      .Array("bools", kGgufBool, 3, std::string(3, '\1'))
      .Array("nested", kGgufArray, 1, Raw<uint32_t>(kGgufU16) + Raw<uint64_t>(2) + "abcd")
      .Array("none", kGgufString, 0, "")
      .Key("last", kGgufU32, Raw<uint32_t>(9));
  const std::string bytes = builder.Bytes();
  const auto file = ParseGguf(bytes);
  ASSERT_OK(file);
  EXPECT_EQ(*file->GetUint("u8"), 200u);
  EXPECT_EQ(*file->GetInt("i8"), -100);
  EXPECT_EQ(*file->GetInt("u16"), 60000);
  EXPECT_EQ(*file->GetInt("i16"), -30000);
  EXPECT_EQ(*file->GetInt("u32"), 4000000000);
  EXPECT_EQ(*file->GetInt("i32"), -2000000000);
  EXPECT_EQ(*file->GetUint("u64"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(*file->GetInt("i64"), -5);
  EXPECT_EQ(*file->GetFloat("f32"), 1.25);
  EXPECT_EQ(*file->GetFloat("f64"), 1e300);
  EXPECT_TRUE(*file->GetBool("yes"));
  EXPECT_FALSE(*file->GetBool("no"));
  EXPECT_EQ(*file->GetString("text"), "a\nb");
  EXPECT_THAT(*file->GetStringArray("texts"), ElementsAre("x", ""));
  EXPECT_THAT(*file->GetInt32Array("ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file->GetInt32Array("bytes"), ElementsAre(7, 255));
  EXPECT_THAT(*file->GetFloatArray("floats"), ElementsAre(0.5f, -1.0f));
  EXPECT_TRUE(file->GetStringArray("none")->empty());
  EXPECT_TRUE(file->Has("nested"));
  EXPECT_EQ(*file->GetUint("last"), 9u);  // so what stands before was stepped over exactly
}

TEST(GgufMetadata, GettersNameFileKeyAndReason) {
  GgufBuilder builder;
  builder.Key("text", kGgufString, GgufString("x"))
      .Key("negative", kGgufI32, Raw<int32_t>(-1))
      .Key("huge", kGgufU64, Raw(std::numeric_limits<uint64_t>::max()))
      .Array("wide", kGgufI64, 1, Raw<int64_t>(int64_t{1} << 40))
      .Array("bools", kGgufBool, 1, "x");
  const std::string bytes = builder.Bytes();
  const auto file = ParseGguf(bytes);
  ASSERT_OK(file);
  ExpectError(file->GetUint("absent"), StatusCode::kNotFound, {"a.gguf", "\"absent\"", "missing"});
  ExpectError(file->GetUint("text"), StatusCode::kInvalidArgument,
              {"a.gguf", "\"text\"", "is a string", "unsigned integer"});
  ExpectError(file->GetFloat("text"), StatusCode::kInvalidArgument, {"must be a float"});
  ExpectError(file->GetBool("text"), StatusCode::kInvalidArgument, {"must be a boolean"});
  ExpectError(file->GetUint("negative"), StatusCode::kInvalidArgument, {"-1", "negative"});
  ExpectError(file->GetInt("huge"), StatusCode::kInvalidArgument, {"too large"});
  ExpectError(file->GetInt32Array("wide"), StatusCode::kInvalidArgument, {"32 bits"});
  ExpectError(file->GetInt32Array("bools"), StatusCode::kInvalidArgument, {"booleans or arrays"});
}

TEST(GgufTensors, AreFoundWithTheirBytes) {
  GgufBuilder builder;
  const std::string floats = Raw(1.0f) + Raw(2.0f) + Raw(3.0f) + Raw(4.0f) + Raw(5.0f) + Raw(6.0f);
  builder.Tensor("a", {3, 2}, kTypeF32, floats)
      .Tensor("q", {32}, kTypeQ8_0, std::string(34, 'x'))
      .Tensor("other", {256}, 12, std::string(144, 'y'));
  const std::string bytes = builder.Bytes();
  const auto file = ParseGguf(bytes);
  ASSERT_OK(file);
  ASSERT_EQ(file->tensors().size(), 3u);
  const GgufTensor* a = file->FindTensor("a");
  ASSERT_NE(a, nullptr);
  EXPECT_THAT(a->sizes, ElementsAre(2, 3));
  EXPECT_EQ(a->type, StoredType::kF32);
  ASSERT_EQ(a->data.size(), floats.size());
  EXPECT_EQ(std::memcmp(a->data.data(), floats.data(), floats.size()), 0);
  EXPECT_EQ(file->FindTensor("q")->data.size(), 34u);
  EXPECT_FALSE(file->FindTensor("other")->type.has_value());
  EXPECT_EQ(GgufTypeName(file->FindTensor("other")->type_id), "Q4_K");
  EXPECT_EQ(GgufTypeName(77), "type 77");
  EXPECT_EQ(file->FindTensor("b"), nullptr);
}

// A file that is wrong in one way, and what the message must say.
struct BadFile {
  const char* what;
  std::string bytes;
  StatusCode code;
  std::string part;
};

std::vector<BadFile> BadHeaders() {
  GgufBuilder magic;
  magic.magic = 0x12345678;
  GgufBuilder version;
  version.version = 2;
  GgufBuilder big_endian;
  big_endian.version = 0x03000000;
  GgufBuilder keys;
  keys.num_keys_off = int64_t{1} << 60;
  GgufBuilder tensors;
  tensors.num_tensors_off = int64_t{1} << 60;
  GgufBuilder missing_tensor;
  missing_tensor.Info("a", {4}, kTypeF32, 0);
  missing_tensor.num_tensors_off = 1;
  return {{"magic", magic.Bytes(), StatusCode::kInvalidArgument, "not a GGUF file"},
          {"version", version.Bytes(), StatusCode::kInvalidArgument, "version 2"},
          {"big-endian", big_endian.Bytes(), StatusCode::kInvalidArgument, "big-endian"},
          {"key count", keys.Bytes(), StatusCode::kDataLoss, "metadata keys"},
          {"tensor count", tensors.Bytes(), StatusCode::kDataLoss, "tensor descriptions"},
          {"one tensor too few", missing_tensor.Bytes(), StatusCode::kDataLoss, ""},
          {"short", "GGU", StatusCode::kDataLoss, "truncated"}};
}

std::vector<BadFile> BadMetadata() {
  const auto with = [](uint32_t type, const std::string& value) {
    return GgufBuilder().Key("k", type, value).Bytes();
  };
  const std::string long_count = Raw(std::numeric_limits<uint64_t>::max());
  std::string nested;
  for (int i = 0; i < 5; ++i) nested += Raw<uint32_t>(kGgufArray) + Raw<uint64_t>(1);
  nested += Raw<uint32_t>(kGgufU8) + Raw<uint64_t>(0);
  return {
      {"value type", with(13, "xxxxxxxx"), StatusCode::kDataLoss, "unknown value type 13"},
      {"element type", with(kGgufArray, Raw<uint32_t>(99) + Raw<uint64_t>(0)),
       StatusCode::kDataLoss, "unknown value type 99"},
      {"string length", with(kGgufString, long_count), StatusCode::kDataLoss, "\"k\""},
      {"string count", with(kGgufArray, Raw<uint32_t>(kGgufString) + long_count),
       StatusCode::kDataLoss, "\"k\""},
      {"number count", with(kGgufArray, Raw<uint32_t>(kGgufU64) + long_count),
       StatusCode::kDataLoss, "\"k\""},
      {"bool count", with(kGgufArray, Raw<uint32_t>(kGgufBool) + long_count), StatusCode::kDataLoss,
       "\"k\""},
      {"array count", with(kGgufArray, Raw<uint32_t>(kGgufArray) + long_count),
       StatusCode::kDataLoss, "\"k\""},
      {"deep nesting", with(kGgufArray, nested), StatusCode::kDataLoss, "deeper"},
      {"huge element", with(kGgufArray, Raw<uint32_t>(kGgufU64) + Raw<uint64_t>(1) + long_count),
       StatusCode::kDataLoss, "largest supported"},
      {"twice", GgufBuilder().Key("k", kGgufU8, "a").Key("k", kGgufU8, "a").Bytes(),
       StatusCode::kDataLoss, "\"k\" appears twice"},
      {"alignment 0", GgufBuilder().Key("general.alignment", kGgufU32, Raw<uint32_t>(0)).Bytes(),
       StatusCode::kDataLoss, "general.alignment"},
      {"alignment 24", GgufBuilder().Key("general.alignment", kGgufU32, Raw<uint32_t>(24)).Bytes(),
       StatusCode::kDataLoss, "power of two"},
  };
}

std::vector<BadFile> BadTensors() {
  const auto info = [](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    return GgufBuilder().Info("t", sizes, type, offset).Bytes() + std::string(64, 'x');
  };
  const uint64_t huge = uint64_t{1} << 62;
  return {
      {"no dimension", info({}, kTypeF32, 0), StatusCode::kDataLoss, "0 dimensions"},
      {"five dimensions", info({1, 1, 1, 1, 1}, kTypeF32, 0), StatusCode::kDataLoss,
       "5 dimensions"},
      {"size 0", info({0}, kTypeF32, 0), StatusCode::kDataLoss, "impossible size"},
      {"negative size", info({huge * 2}, kTypeF32, 0), StatusCode::kDataLoss, "impossible size"},
      {"product", info({huge, 4}, kTypeF32, 0), StatusCode::kDataLoss, "impossible size"},
      {"bytes", info({huge}, kTypeF32, 0), StatusCode::kDataLoss, "impossibly large"},
      {"half a block", info({33}, kTypeQ8_0, 0), StatusCode::kDataLoss, "multiple of 32"},
      {"offset", info({4}, kTypeF32, 96), StatusCode::kDataLoss, "truncated"},
      {"offset at the top", info({4}, kTypeF32, std::numeric_limits<uint64_t>::max() - 31),
       StatusCode::kDataLoss, "truncated"},
      {"crooked offset", info({4}, kTypeF32, 4), StatusCode::kDataLoss, "alignment"},
      {"past the end", info({17}, kTypeF32, 0), StatusCode::kDataLoss, "takes 68 bytes"},
      {"overlap",
       GgufBuilder().Info("t", {9}, kTypeF32, 0).Info("u", {4}, kTypeF32, 32).Bytes() +
           std::string(64, 'x'),
       StatusCode::kDataLoss, "overlap"},
      {"twice",
       GgufBuilder().Info("t", {4}, kTypeF32, 0).Info("t", {4}, kTypeF32, 32).Bytes() +
           std::string(64, 'x'),
       StatusCode::kDataLoss, "\"t\" appears twice"},
  };
}

TEST(GgufErrors, NameFileAndReason) {
  for (const auto& list : {BadHeaders(), BadMetadata(), BadTensors()}) {
    for (const BadFile& bad : list) {
      SCOPED_TRACE(bad.what);
      ExpectError(ParseGguf(bad.bytes), bad.code, {"a.gguf: ", bad.part});
    }
  }
}

TEST(GgufErrors, EveryTruncationIsRefused) {
  const std::string whole = ReadFile(FixturePath("tiny.gguf"));
  ASSERT_OK(ParseGguf(whole));
  for (size_t size = 0; size < whole.size(); size = size < 4096 ? size + 1 : size + 997) {
    EXPECT_FALSE(ParseGguf(whole.substr(0, size)).ok()) << size << " bytes";
  }
  EXPECT_FALSE(ParseGguf(whole.substr(0, whole.size() - 1)).ok());
}

TEST(GgufErrors, NamesAreEscapedAndCut) {
  const std::string name = "bad\n\x1b[31m" + std::string(1000, 'n');
  const auto result = ParseGguf(GgufBuilder().Info(name, {0}, kTypeF32, 0).Bytes());
  ExpectError(result, StatusCode::kDataLoss, {"bad\\n\\x1b[31m"});
  EXPECT_LT(result.status().message().size(), 300u);
}

TEST(GgufOpen, FileErrorsNameThePath) {
  const ScratchDir dir;
  ExpectError(GgufFile::Open(dir.path() + "/absent.gguf"), StatusCode::kNotFound,
              {"absent.gguf", "No such file"});
  ExpectError(GgufFile::Open(dir.Write("empty.gguf", "")), StatusCode::kInvalidArgument,
              {"empty.gguf", "empty"});
  ExpectError(GgufFile::Open(dir.path()), StatusCode::kInvalidArgument, {"not a file"});
}

}  // namespace
}  // namespace tamis
