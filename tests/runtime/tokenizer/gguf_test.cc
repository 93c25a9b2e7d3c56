// SPDX-License-Identifier: Apache-2.0
// The small tokenizers of the fixtures, rewritten as GGUF metadata, give the same ids.
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <variant>

#include "fixtures.h"
#include "gmock/gmock.h"

namespace tamis {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Value =
    std::variant<uint32_t, bool, std::string, std::vector<std::string>, std::vector<int32_t>>;
using Metadata = std::map<std::string, Value>;

// Writes the metadata as a GGUF v3 file without tensors.
class GgufBytes {
 public:
  explicit GgufBytes(const Metadata& metadata) {
    bytes_ = "GGUF";
    Put(uint32_t{3});
    Put(uint64_t{0});
    Put(uint64_t{metadata.size()});
    for (const auto& [key, value] : metadata) {
      Put(key);
      std::visit([this](const auto& v) { PutTyped(v); }, value);
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <typename T>
  void Put(const T& value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }
  void Put(const std::string& text) {
    Put(uint64_t{text.size()});
    bytes_ += text;
  }
  template <typename T>
  static constexpr uint32_t kType = std::is_same_v<T, uint32_t>  ? 4
                                    : std::is_same_v<T, int32_t> ? 5
                                    : std::is_same_v<T, bool>    ? 7
                                                                 : 8;
  template <typename T>
  void PutTyped(const T& value) {
    Put(kType<T>);
    Put(value);
  }
  template <typename T>
  void PutTyped(const std::vector<T>& values) {
    Put(uint32_t{9});
    Put(kType<T>);
    Put(uint64_t{values.size()});
    for (const T& value : values) Put(value);
  }
  std::string bytes_;
};

// A tokenizer.json of the fixtures in GGUF's terms.
Metadata FromJson(const std::string& name, const std::string& pre) {
  const json tokenizer = FixtureJson(name);
  std::map<int32_t, std::pair<std::string, int32_t>> tokens;  // id -> text, type
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items()) {
    tokens[id.get<int32_t>()] = {text, 1};
  }
  for (const auto& token : tokenizer["added_tokens"]) {
    tokens[token["id"].get<int32_t>()] = {token["content"].get<std::string>(),
                                          token["special"].get<bool>() ? 3 : 4};
  }
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  for (const auto& [id, token] : tokens) {
    EXPECT_EQ(id, static_cast<int32_t>(texts.size()));
    texts.push_back(token.first);
    types.push_back(token.second);
  }
  std::vector<std::string> merges;
  for (const auto& merge : tokenizer["model"]["merges"]) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return {{"tokenizer.ggml.model", "gpt2"},  {"tokenizer.ggml.pre", pre},
          {"tokenizer.ggml.tokens", texts},  {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.merges", merges}, {"tokenizer.chat_template", "{{ x }}"}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenMetadata(const Metadata& metadata) {
  const TempDirectory directory;
  return Tokenizer::Open(directory.Write("model.gguf", GgufBytes(metadata).bytes()));
}

void ExpectParity(const Tokenizer& tokenizer, const std::string& ids_name) {
  const std::vector<std::string> lines = FixtureLines();
  const std::vector<Ids> expected = FixtureIds(ids_name, 2);
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto ids = tokenizer.Encode(lines[i], /*add_bos=*/false, /*parse_special=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    ASSERT_EQ(*ids, expected[i]) << "line " << i;
  }
}

TEST(GgufTokenizerTest, SmolLm) {
  Metadata metadata = FromJson("smol_like.json", "smollm");
  metadata["tokenizer.ggml.bos_token_id"] = uint32_t{1};
  metadata["tokenizer.ggml.eos_token_id"] = uint32_t{2};
  metadata["tokenizer.ggml.add_bos_token"] = false;
  const auto tokenizer = OpenMetadata(metadata);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectParity(**tokenizer, "smol_like.ids");
  EXPECT_EQ((*tokenizer)->bos_token_id(), 1);
  EXPECT_THAT((*tokenizer)->eos_token_ids(), ElementsAre(2));
  EXPECT_EQ((*tokenizer)->chat_template_source(), "{{ x }}");
  EXPECT_TRUE((*tokenizer)->Encode("", true, true)->empty());
  EXPECT_TRUE((*tokenizer)->IsSpecial(2));
}

TEST(GgufTokenizerTest, Llama3) {
  Metadata metadata = FromJson("llama_like.json", "llama-bpe");
  const auto json_tokenizer = OpenOrDie(FixturePath("llama_like.json"));
  const auto id = [&](const char* text) {
    return static_cast<uint32_t>((*json_tokenizer->Encode(text, false, true))[0]);
  };
  metadata["tokenizer.ggml.bos_token_id"] = id("<|begin_of_text|>");
  metadata["tokenizer.ggml.eos_token_id"] = id("<|eot_id|>");
  const auto tokenizer = OpenMetadata(metadata);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectParity(**tokenizer, "llama_like.ids");
  EXPECT_EQ((*tokenizer)->Encode("x", true, true)->front(), json_tokenizer->bos_token_id());
  EXPECT_THAT((*tokenizer)->eos_token_ids(),
              ElementsAre(id("<|end_of_text|>"), id("<|eom_id|>"), id("<|eot_id|>")));
}

TEST(GgufTokenizerTest, Refusals) {
  using Change = std::function<void(Metadata&)>;
  const std::pair<Change, std::string> cases[] = {
      {[](Metadata& m) { m["tokenizer.ggml.model"] = "llama"; },
       "tokenizer.ggml.model: \"llama\" is not supported"},
      {[](Metadata& m) { m["tokenizer.ggml.pre"] = "qwen2"; },
       "tokenizer.ggml.pre: \"qwen2\" is not supported"},
      {[](Metadata& m) { m.erase("tokenizer.ggml.pre"); }, "tokenizer.ggml.pre"},
      {[](Metadata& m) { m["tokenizer.ggml.add_eos_token"] = true; },
       "tokenizer.ggml.add_eos_token: true"},
      {[](Metadata& m) { m["tokenizer.ggml.token_type"] = std::vector<int32_t>{1}; },
       "tokenizer.ggml.token_type has 1 entries"},
      {[](Metadata& m) { std::get<std::vector<int32_t>>(m["tokenizer.ggml.token_type"])[9] = 6; },
       "tokenizer.ggml.token_type[9]: type 6"},
      {[](Metadata& m) {
         std::get<std::vector<std::string>>(m["tokenizer.ggml.merges"])[2] = "abc";
       },
       "tokenizer.ggml.merges[2]: \"abc\" is not a pair"},
      {[](Metadata& m) {
         std::get<std::vector<std::string>>(m["tokenizer.ggml.merges"])[2] = "zq qz";
       },
       "merges[2]: \"zq\" is not in the vocabulary"},
      {[](Metadata& m) {
         auto& tokens = std::get<std::vector<std::string>>(m["tokenizer.ggml.tokens"]);
         tokens[20] = tokens[30];
       },
       "ids 20 and 30 are both"},
      {[](Metadata& m) { m["tokenizer.ggml.eos_token_id"] = uint32_t{99999}; },
       "eos token id 99999 is outside the vocabulary"},
      {[](Metadata& m) { m["tokenizer.ggml.bos_token_id"] = UINT32_MAX; },
       "tokenizer.ggml.bos_token_id: 4294967295 is not a token id"},
      {[](Metadata& m) { m["tokenizer.ggml.add_bos_token"] = true; }, "there is no bos token"},
  };
  const Metadata good = FromJson("smol_like.json", "smollm");
  ASSERT_TRUE(OpenMetadata(good).ok());
  for (const auto& [change, message] : cases) {
    Metadata metadata = good;
    change(metadata);
    const auto status = OpenMetadata(metadata).status();
    EXPECT_FALSE(status.ok()) << message;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("model.gguf"), HasSubstr(message)));
  }
}

}  // namespace
}  // namespace tamis
