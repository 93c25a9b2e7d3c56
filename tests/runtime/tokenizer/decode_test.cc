// SPDX-License-Identifier: Apache-2.0
// Bytes of tokens, lossy decoding, and streams that agree with it piece by piece.
#include <random>
#include <string>

#include "fixtures.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

std::string Lossy(std::string_view bytes) {
  std::string out;
  EXPECT_EQ(AppendLossyUtf8(bytes, /*at_end=*/true, out), bytes.size());
  return out;
}

TEST(Utf8Test, MaximalSubparts) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(Lossy("a\xF0\x9F\x98z"), "a" + bad + "z");
  EXPECT_EQ(Lossy("\xC0\x80"), bad + bad);
  EXPECT_EQ(Lossy("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
  EXPECT_EQ(Lossy("\xF4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(Lossy("\xE0\x9F\xBF"), bad + bad + bad);  // overlong
  EXPECT_EQ(Lossy("\xF1\x80\x80\xE1\x80\xC2 \x80"), bad + bad + bad + " " + bad);
  EXPECT_EQ(Lossy("\xE2\x82"), bad);
  EXPECT_EQ(Lossy("\xF4\x8F\xBF\xBF\xEF\xBF\xBF"), "\U0010FFFF\uFFFF");
}

TEST(Utf8Test, FindsTheFirstBadByte) {
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\U0001F600"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\x80"), 3U);
  EXPECT_EQ(FindInvalidUtf8("ab\xE2\x82"), 2U);
  EXPECT_EQ(FindInvalidUtf8("\xED\xBF\xBF"), 0U);
}

TEST(Utf8Test, StripsWhatPythonStrips) {
  EXPECT_EQ(StripPythonSpace("\u00a0\x1c x \u200b\u3000\n"), "x \u200b");
  EXPECT_EQ(StripPythonSpace(" \u2003"), "");
  EXPECT_EQ(StripPythonSpace(""), "");
}

TEST(DecodeTest, SpecialTokensAndUnknownIds) {
  const auto tokenizer = OpenOrDie(FixturePath("smol_like.json"));
  const int32_t end = 2;  // <|im_end|>
  EXPECT_TRUE(tokenizer->IsSpecial(end));
  EXPECT_EQ(tokenizer->TokenBytes(end, /*skip_special=*/false), "<|im_end|>");
  EXPECT_EQ(tokenizer->TokenBytes(end, /*skip_special=*/true), "");
  for (const int32_t id : {-1, tokenizer->vocab_size(), INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer->TokenBytes(id, false), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
  const auto ids = tokenizer->Encode("a<tool>", false, true);
  ASSERT_TRUE(ids.ok());
  EXPECT_FALSE(tokenizer->IsSpecial(ids->back()));  // added, but not special
  EXPECT_EQ(tokenizer->Decode(*ids, /*skip_special=*/true), "a<tool>");
}

TEST(StreamDecoderTest, PiecesJoinToTheWhole) {
  const auto tokenizer = OpenOrDie(FixturePath("smol_like.json"));
  std::mt19937 random(17);
  std::uniform_int_distribution<int32_t> any(-1, tokenizer->vocab_size());
  std::uniform_int_distribution<int32_t> bytes(3, 260);  // mostly single bytes
  int held_back = 0;
  for (int round = 0; round < 2000; ++round) {
    Ids ids(static_cast<size_t>(round % 24));
    for (int32_t& id : ids) id = round % 2 == 0 ? any(random) : bytes(random);
    const bool skip_special = round % 3 != 0;
    StreamDecoder stream(*tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.Push(id);
      ASSERT_EQ(FindInvalidUtf8(piece), std::string::npos);
      if (piece.empty() && !tokenizer->TokenBytes(id, skip_special).empty()) ++held_back;
      text += piece;
    }
    text += stream.Finish();
    ASSERT_EQ(text, tokenizer->Decode(ids, skip_special)) << testing::PrintToString(ids);
    EXPECT_EQ(stream.Finish(), "");
  }
  EXPECT_GT(held_back, 100);
}

TEST(StreamDecoderTest, GivesACharacterOutWithItsLastByte) {
  const auto tokenizer = OpenOrDie(FixturePath("llama_like.json"));
  const auto ids = tokenizer->Encode("\U0001FAE0!", false, false);
  ASSERT_TRUE(ids.ok());
  ASSERT_GT(ids->size(), 2U);
  StreamDecoder stream(*tokenizer);
  for (size_t i = 0; i + 2 < ids->size(); ++i) EXPECT_EQ(stream.Push((*ids)[i]), "");
  EXPECT_EQ(stream.Push((*ids)[ids->size() - 2]), "\U0001FAE0");
  EXPECT_EQ(stream.Push((*ids)[0]), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
}

}  // namespace
}  // namespace tamis
