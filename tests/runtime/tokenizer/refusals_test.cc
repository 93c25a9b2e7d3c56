// SPDX-License-Identifier: Apache-2.0
// What is not supported or does not fit together is refused, with file, field and value.
#include <functional>
#include <string>

#include "fixtures.h"
#include "gmock/gmock.h"

namespace tamis {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

absl::Status OpenChanged(const std::function<void(json&)>& change,
                         const std::string& name = "llama_like.json") {
  json tokenizer = FixtureJson(name);
  change(tokenizer);
  const TempDirectory directory;
  return Tokenizer::Open(directory.Write("tokenizer.json", tokenizer.dump())).status();
}

struct Refusal {
  const char* pointer;  // the JSON pointer of the member to set
  const char* value;    // JSON
  const char* message;
};

TEST(RefusalsTest, UnsupportedFieldsAreNamed) {
  const Refusal cases[] = {
      {"/normalizer", R"({"type":"NFC"})", "normalizer: {\"type\":\"NFC\"}"},
      {"/model/type", R"("Unigram")", "model.type: \"Unigram\""},
      {"/model/dropout", "0.1", "model.dropout: 0.1"},
      {"/model/byte_fallback", "true", "model.byte_fallback: true"},
      {"/model/continuing_subword_prefix", R"("##")", "model.continuing_subword_prefix: \"##\""},
      {"/model/end_of_word_suffix", R"("</w>")", "model.end_of_word_suffix: \"</w>\""},
      {"/pre_tokenizer", "null", "pre_tokenizer.type: null"},
      {"/pre_tokenizer/type", R"("Metaspace")", "pre_tokenizer.type: \"Metaspace\""},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("\\w+")",
       "pre_tokenizer.pretokenizers[0].pattern.Regex: \"\\\\w+\""},
      {"/pre_tokenizer/pretokenizers/0/pattern", R"({"String":" "})",
       "pre_tokenizer.pretokenizers[0].pattern: {\"String\":\" \"}"},
      {"/pre_tokenizer/pretokenizers/0/behavior", R"("Removed")", "behavior: \"Removed\""},
      {"/pre_tokenizer/pretokenizers/0/invert", "true", "invert: true"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", "true", "add_prefix_space: true"},
      {"/pre_tokenizer/pretokenizers/1", R"({"type":"Digits","individual_digits":true})",
       "ByteLevel as the last step"},
      {"/pre_tokenizer/pretokenizers/1", R"({"type":"Digits","individual_digits":false})",
       "individual_digits: false"},
      {"/added_tokens/0/single_word", "true", "added_tokens[0].single_word: true"},
      {"/post_processor/type", R"("BertProcessing")", "post_processor.type: \"BertProcessing\""},
      {"/post_processor/processors/1/single/2",
       R"({"SpecialToken":{"id":"<|end_of_text|>","type_id":0}})",
       "post_processor.processors[1].single"},
      {"/decoder/type", R"("WordPiece")", "decoder.type: \"WordPiece\""},
  };
  for (const Refusal& refusal : cases) {
    const auto status = OpenChanged([&](json& tokenizer) {
      tokenizer[json::json_pointer(refusal.pointer)] = json::parse(refusal.value);
    });
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << refusal.pointer;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("/tokenizer.json: "), HasSubstr(refusal.message),
                      HasSubstr("is not supported")));
  }
}

TEST(RefusalsTest, BrokenFilesAreNamed) {
  const Refusal cases[] = {
      {"/model/merges/3", R"("a b c")", "model.merges[3]: not a pair of tokens"},
      {"/model/merges/3", R"(["a"])", "model.merges[3]: not a pair of tokens"},
      {"/model/merges/3", R"("zq qz")", "merges[3]: \"zq\" is not in the vocabulary"},
      {"/model/merges", "7", "model.merges: not an array"},
      {"/model/vocab", "[]", "model.vocab: not an object"},
      {"/model/vocab/a", "-1", "model.vocab.a: not a token id"},
      {"/model/vocab/a", "4000000000", "model.vocab.a: not a token id"},
      {"/model/vocab/a", "7", "id 7 is both"},
      {"/model/unk_token", R"("<none>")", "unk_token \"<none>\" is not in the vocabulary"},
      {"/model/ignore_merges", "3", "model.ignore_merges: not true or false"},
      {"/added_tokens/0/id", "5", "added_tokens[0]: id 5 is \""},
      {"/added_tokens/0/content", "5", "added_tokens[0].content: not a string"},
      {"/post_processor/processors/1/special_tokens/<|begin_of_text|>/ids", "[99999]",
       "bos token id 99999 is outside the vocabulary"},
  };
  for (const Refusal& refusal : cases) {
    const auto status = OpenChanged([&](json& tokenizer) {
      tokenizer[json::json_pointer(refusal.pointer)] = json::parse(refusal.value);
    });
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << refusal.pointer;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("/tokenizer.json: "), HasSubstr(refusal.message)));
  }
  const TempDirectory directory;
  EXPECT_THAT(
      std::string(Tokenizer::Open(directory.Write("tokenizer.json", "{\"a\":")).status().message()),
      HasSubstr("not valid JSON"));
  const std::string nested = "{\"normalizer\": " + std::string(300'000, '[');
  EXPECT_THAT(
      std::string(Tokenizer::Open(directory.Write("tokenizer.json", nested)).status().message()),
      HasSubstr("nests deeper than 64 levels"));
  EXPECT_EQ(Tokenizer::Open(directory.path() + "/none").status().code(),
            absl::StatusCode::kNotFound);
  const TempDirectory empty;
  EXPECT_THAT(std::string(Tokenizer::Open(empty.path()).status().message()),
              HasSubstr("/tokenizer.json: cannot be read"));
}

TEST(RefusalsTest, UnknownTokenStandsForMissingBytes) {
  const TempDirectory directory;
  json tokenizer = FixtureJson("smol_like.json");
  tokenizer["model"]["unk_token"] = "<|endoftext|>";
  const auto with = OpenOrDie(directory.Write("tokenizer.json", tokenizer.dump()));
  const auto without = OpenOrDie(FixturePath("smol_like.json"));
  const auto ids = with->Encode("\x07\x07", false, false);
  ASSERT_TRUE(ids.ok());
  EXPECT_THAT(*ids, ElementsAre(0, 0));
  EXPECT_TRUE(without->Encode("\x07\x07", false, false)->empty());
}

TEST(DirectoryTest, FilesBesideTokenizerJsonCount) {
  const TempDirectory directory;
  directory.Write("tokenizer.json", ReadAll(FixturePath("smol_like.json")));
  const auto write = [&](const char* name, const json& content) {
    directory.Write(name, content.dump());
  };
  write("special_tokens_map.json", {{"bos_token", "<|endoftext|>"}, {"eos_token", "<|im_end|>"}});
  auto tokenizer = OpenOrDie(directory.path());
  EXPECT_EQ(tokenizer->bos_token_id(), 0);
  EXPECT_THAT(tokenizer->eos_token_ids(), ElementsAre(2));
  EXPECT_EQ(tokenizer->chat_template_source(), "");

  write("config.json", {{"eos_token_id", 1}});
  tokenizer = OpenOrDie(directory.path());
  EXPECT_THAT(tokenizer->eos_token_ids(), ElementsAre(1, 2));

  write("tokenizer_config.json",
        {{"bos_token", {{"content", "<|im_start|>"}}},
         {"eos_token", "<|endoftext|>"},
         {"add_bos_token", true},
         {"chat_template", json::array({{{"name", "tool_use"}, {"template", "t"}},
                                        {{"name", "default"}, {"template", "d"}}})}});
  write("generation_config.json", {{"eos_token_id", {2, 0}}});
  tokenizer = OpenOrDie(directory.path());
  EXPECT_EQ(tokenizer->bos_token_id(), 1);
  EXPECT_THAT(tokenizer->eos_token_ids(), ElementsAre(0, 2));
  EXPECT_EQ(tokenizer->chat_template_source(), "d");
  EXPECT_EQ((*tokenizer->Encode("x", true, true))[0], 1);

  directory.Write("chat_template.jinja", "file\n");
  EXPECT_EQ(OpenOrDie(directory.path())->chat_template_source(), "file\n");
}

TEST(DirectoryTest, AddBosTokenOverridesTheTemplate) {
  const TempDirectory directory;
  directory.Write("tokenizer.json", ReadAll(FixturePath("llama_like.json")));
  directory.Write("tokenizer_config.json", R"({"add_bos_token": false})");
  const auto tokenizer = OpenOrDie(directory.path());
  EXPECT_GE(tokenizer->bos_token_id(), 0);
  EXPECT_TRUE(tokenizer->Encode("", true, true)->empty());
}

TEST(DirectoryTest, RefusesBrokenSiblings) {
  const std::string cases[][3] = {
      {"tokenizer_config.json", R"({"eos_token": "<none>"})", "eos_token: \"<none>\" is not in"},
      {"tokenizer_config.json", R"({"add_eos_token": true})", "add_eos_token: true"},
      {"tokenizer_config.json", R"({"add_bos_token": true})", "there is no bos token"},
      {"tokenizer_config.json", R"({"chat_template": 3})", "chat_template: not a string"},
      {"generation_config.json", R"({"eos_token_id": ["a"]})", "eos_token_id[0]: not a token id"},
      {"generation_config.json", R"({"eos_token_id": 99999})", "eos token id 99999 is outside"},
  };
  for (const auto& [name, content, message] : cases) {
    const TempDirectory directory;
    directory.Write("tokenizer.json", ReadAll(FixturePath("smol_like.json")));
    directory.Write(name, content);
    EXPECT_THAT(std::string(Tokenizer::Open(directory.path()).status().message()),
                HasSubstr(message));
  }
}

}  // namespace
}  // namespace tamis
