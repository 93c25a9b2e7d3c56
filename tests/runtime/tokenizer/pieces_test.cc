// SPDX-License-Identifier: Apache-2.0
// Byte map, pre-tokenisers, added tokens, BOS, and time that stays linear in the input.
#include <algorithm>
#include <chrono>
#include <set>
#include <string>

#include "fixtures.h"
#include "gmock/gmock.h"
#include "runtime/tokenizer/byte_map.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

using testing::ElementsAre;

std::vector<std::string> Split(const std::vector<SplitRule>& rules, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Create(rules);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  std::vector<std::string> pieces;
  const auto status =
      pre_tokenizer->Split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(ByteMapTest, IsABijection) {
  std::set<char32_t> chars;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = ByteToChar(static_cast<uint8_t>(byte));
    chars.insert(c);
    std::string text;
    AppendUtf8(c, text);
    EXPECT_EQ(UnmapBytes(text), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(chars.size(), 256U);
  EXPECT_EQ(ByteToChar(' '), U'\u0120');
  EXPECT_EQ(ByteToChar('\n'), U'\u010A');
  EXPECT_EQ(ByteToChar(0xAD), U'\u0143');
  EXPECT_FALSE(UnmapBytes("a b").has_value());
  EXPECT_FALSE(UnmapBytes("\u0144").has_value());
}

TEST(PreTokenizerTest, Gpt2) {
  EXPECT_THAT(Split({SplitRule::kGpt2}, "I'll  pay 120$ 'S\n\n x  "),
              ElementsAre("I", "'ll", " ", " pay", " 120", "$", " '", "S", "\n\n", " x", "  "));
  EXPECT_THAT(Split({SplitRule::kGpt2}, ""), ElementsAre());
}

TEST(PreTokenizerTest, SmolLmSplitsDigitsFirst) {
  EXPECT_THAT(Split({SplitRule::kDigits, SplitRule::kGpt2}, "a  12 \u00bdb"),
              ElementsAre("a", "  ", "1", "2", " ", "\u00bd", "b"));
}

TEST(PreTokenizerTest, Llama3) {
  EXPECT_THAT(
      Split({SplitRule::kLlama3}, "I'LL pay 12345(x)\n\n\n\ty  \n z"),
      ElementsAre("I", "'LL", " pay", " ", "123", "45", "(x", ")\n\n\n", "\ty", "  \n", " z"));
  EXPECT_THAT(Split({SplitRule::kLlama3}, "'\u017f"), ElementsAre("'\u017f"));
}

TEST(PreTokenizerTest, ClassesAreHuggingFacesNotPcre2s) {
  // U+180E is no white space; U+1C89 became a letter in Unicode 16, U+1E4F0 a digit in 15, and
  // Digits already knows U+11DE0 of Unicode 17.
  EXPECT_THAT(Split({SplitRule::kGpt2}, "!\u180e!"), ElementsAre("!\u180e!"));
  EXPECT_THAT(Split({SplitRule::kGpt2}, "a\u1c89!"), ElementsAre("a\u1c89", "!"));
  EXPECT_THAT(Split({SplitRule::kGpt2}, "1\U0001E4F0!"), ElementsAre("1\U0001E4F0", "!"));
  EXPECT_THAT(Split({SplitRule::kDigits}, "!\U00011DE0!"), ElementsAre("!", "\U00011DE0", "!"));
}

TEST(PreTokenizerTest, PiecesJoinToTheText) {
  for (const SplitRule rule : {SplitRule::kGpt2, SplitRule::kLlama3}) {
    for (const std::string& line : FixtureLines()) {
      std::string joined;
      for (const std::string& piece : Split({SplitRule::kDigits, rule}, line)) joined += piece;
      ASSERT_EQ(joined, line);
    }
  }
}

TEST(AddedTokensTest, SpecialOnesOnlyOnRequest) {
  const auto tokenizer = OpenOrDie(FixturePath("smol_like.json"));
  const std::string text = "a<|im_end|><tool>";
  const auto parsed = tokenizer->Encode(text, false, /*parse_special=*/true);
  const auto plain = tokenizer->Encode(text, false, /*parse_special=*/false);
  ASSERT_TRUE(parsed.ok() && plain.ok());
  EXPECT_EQ(parsed->size(), 3U);
  EXPECT_EQ((*parsed)[1], 2);
  EXPECT_EQ(plain->back(), parsed->back());  // <tool> is not special
  EXPECT_EQ(std::count(plain->begin(), plain->end(), 2), 0);
  EXPECT_EQ(tokenizer->Decode(*plain, true), text);
}

TEST(BosTest, PutFirstOnceIfTheModelWantsOne) {
  const auto llama = OpenOrDie(FixturePath("llama_like.json"));
  const int32_t bos = llama->bos_token_id();
  ASSERT_GE(bos, 0);
  const auto encode = [](const Tokenizer& tokenizer, const char* text, bool add, bool parse) {
    const auto ids = tokenizer.Encode(text, add, parse);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return *ids;
  };
  EXPECT_THAT(encode(*llama, "", true, true), ElementsAre(bos));
  EXPECT_THAT(encode(*llama, "", false, true), ElementsAre());
  const Ids plain = encode(*llama, "Hi", false, true);
  const Ids with = encode(*llama, "Hi", true, true);
  EXPECT_EQ(with[0], bos);
  EXPECT_EQ(Ids(with.begin() + 1, with.end()), plain);
  EXPECT_EQ(encode(*llama, "<|begin_of_text|>Hi", true, true), with);
  // Without parsing, the text does not begin with BOS, it spells it.
  EXPECT_EQ(encode(*llama, "<|begin_of_text|>Hi", true, false)[0], bos);
  EXPECT_GT(encode(*llama, "<|begin_of_text|>Hi", true, false).size(), with.size());

  const auto smol = OpenOrDie(FixturePath("smol_like.json"));
  EXPECT_EQ(smol->bos_token_id(), -1);
  EXPECT_EQ(encode(*smol, "Hi", true, true), encode(*smol, "Hi", false, true));
}

TEST(EncodeTest, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = OpenOrDie(FixturePath("smol_like.json"));
  const auto status = tokenizer->Encode("ab\xC3(", true, true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "not UTF-8 at byte 2");
}

TEST(EncodeTest, TimeIsLinearInLongRuns) {
  // Quadratic work would take hours here; the bound leaves room for sanitizers and busy machines.
  constexpr size_t kBytes = size_t{1} << 20;
  for (const char* name : {"smol_like.json", "llama_like.json"}) {
    const auto tokenizer = OpenOrDie(FixturePath(name));
    for (const std::string unit : {" ", "a", "the", "\n", " \t\n ", "7", "-", "\u6f22", "\u0301"}) {
      std::string text;
      while (text.size() < kBytes) text += unit;
      text += "x";
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer->Encode(text, false, true);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_LT(seconds.count(), 30) << name << ": " << unit;
      EXPECT_EQ(tokenizer->Decode(*ids, true), text);
    }
  }
}

}  // namespace
}  // namespace tamis
