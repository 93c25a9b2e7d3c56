// SPDX-License-Identifier: Apache-2.0
// Ids equal those that Hugging Face's `tokenizers` gave for the same lines (make_fixtures.py).
#include <string>

#include "fixtures.h"
#include "gmock/gmock.h"

namespace tamis {
namespace {

void ExpectParity(const Tokenizer& tokenizer, const std::string& ids_name, size_t width) {
  const std::vector<std::string> lines = FixtureLines();
  const std::vector<Ids> expected = FixtureIds(ids_name, width);
  ASSERT_GE(lines.size(), 2000U);
  ASSERT_EQ(lines.size(), expected.size());
  int shown = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto ids = tokenizer.Encode(lines[i], /*add_bos=*/false, /*parse_special=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    if (*ids == expected[i]) continue;
    ADD_FAILURE() << "line " << i << ": " << nlohmann::json(lines[i]).dump() << "\n  got "
                  << testing::PrintToString(*ids) << "\n  expected "
                  << testing::PrintToString(expected[i]);
    if (++shown == 5) return;
  }
}

TEST(ParityTest, SmolLikeTokenizerJson) {
  ExpectParity(*OpenOrDie(FixturePath("smol_like.json")), "smol_like.ids", 2);
}

TEST(ParityTest, LlamaLikeTokenizerJson) {
  ExpectParity(*OpenOrDie(FixturePath("llama_like.json")), "llama_like.ids", 2);
}

TEST(ParityTest, SmolLm2Gguf) {
  if (TestModelPath() == nullptr) {
    GTEST_SKIP() << "TAMIS_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  const auto tokenizer = OpenOrDie(TestModelPath());
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos_token_id(), 1);
  EXPECT_THAT(tokenizer->eos_token_ids(), testing::ElementsAre(2));
  EXPECT_TRUE(tokenizer->IsSpecial(0));
  EXPECT_FALSE(tokenizer->IsSpecial(17));
  ExpectParity(*tokenizer, "smollm2.ids", 3);
}

TEST(ParityTest, AddedTokens) {
  const auto tokenizer = OpenOrDie(FixturePath("smol_like.json"));
  const nlohmann::json added = FixtureJson("cases.json")["added"];
  ASSERT_GT(added["texts"].size(), 0U);
  for (size_t i = 0; i < added["texts"].size(); ++i) {
    const auto text = added["texts"][i].get<std::string>();
    const auto ids = tokenizer->Encode(text, /*add_bos=*/false, /*parse_special=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, added["ids"][i].get<Ids>()) << text;
  }
}

TEST(ParityTest, EveryLineDecodesToItself) {
  // The smol-like vocabulary lacks the byte 07, which is then dropped; Llama's has all.
  const auto tokenizer = OpenOrDie(FixturePath("llama_like.json"));
  const std::vector<Ids> ids = FixtureIds("llama_like.ids", 2);
  const std::vector<std::string> lines = FixtureLines();
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(tokenizer->Decode(ids[i], /*skip_special=*/true), lines[i]) << "line " << i;
  }
}

}  // namespace
}  // namespace tamis
