// SPDX-License-Identifier: Apache-2.0
// `tamis bench logits`, on a random model on the CPU: how the tokens were cut into steps does not
// matter, and what does not fit together is refused by name.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/bench/logits.h"

namespace tamis {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr size_t kVocab = 300;
constexpr const char* kModelConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 24,
  "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8,
  "intermediate_size": 20, "vocab_size": 300, "max_position_embeddings": 512,
  "rms_norm_eps": 1e-05, "rope_theta": 20000.0, "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "torch_dtype": "float32"})";

class LogitsBenchTest : public ::testing::Test {
 protected:
  LogitsBenchTest() {
    fs::create_directories(folder_);
    Write("config.json", kModelConfig);
    Write("tokens", "5,17,203,11,4,99,42,250,7,8,120,33\n61,2,77,201,299,0,13,14,15,16,18,9\n");
    flags_.serve.values = {{"model", folder_}, {"load-format", "dummy"}, {"device", "cpu"}};
    flags_.tokens_path = folder_ / "tokens";
    flags_.out_path = folder_ / "logits";
  }
  ~LogitsBenchTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }

  // [steps * 2, V]
  std::vector<float> Run(int64_t chunk_tokens, int64_t decode_tokens) {
    flags_.chunk_tokens = chunk_tokens;
    flags_.decode_tokens = decode_tokens;
    EXPECT_EQ(RunLogitsBench(flags_, nullptr, nullptr), 0);
    std::vector<float> logits(fs::file_size(flags_.out_path) / sizeof(float));
    std::ifstream(flags_.out_path, std::ios::binary)
        .read(reinterpret_cast<char*>(logits.data()),
              static_cast<std::streamsize>(logits.size() * sizeof(float)));
    return logits;
  }

  std::string Refusal(int exit_code = 2) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunLogitsBench(flags_, nullptr, nullptr), exit_code);
    return testing::internal::GetCapturedStderr();
  }

  fs::path folder_ = fs::path(::testing::TempDir()) /
                     ::testing::UnitTest::GetInstance()->current_test_info()->name();
  LogitsFlags flags_;
};

TEST_F(LogitsBenchTest, PrefillAndDecodingSayTheSame) {
  constexpr size_t kStep = 2 * kVocab;
  const std::vector<float> decoded = Run(1, 11);   // positions 0 to 11
  const std::vector<float> prefilled = Run(4, 0);  // 3, 7, 11
  const std::vector<float> both = Run(7, 2);       // 6, 9, 10, 11
  ASSERT_EQ(decoded.size(), 12 * kStep);
  ASSERT_EQ(prefilled.size(), 3 * kStep);
  ASSERT_EQ(both.size(), 4 * kStep);
  const auto expect_equal = [&](const std::vector<float>& some, size_t step, size_t position) {
    float largest = 0;
    for (size_t i = 0; i < kStep; ++i) {
      const float expected = decoded[position * kStep + i];
      EXPECT_NEAR(some[step * kStep + i], expected, 1e-4f) << "position " << position;
      largest = std::max(largest, std::abs(expected));
    }
    EXPECT_GT(largest, 0.5f);
  };
  for (const size_t step : {0, 1, 2}) expect_equal(prefilled, step, 4 * step + 3);
  expect_equal(both, 0, 6);
  for (const size_t step : {1, 2, 3}) expect_equal(both, step, step + 8);
}

TEST_F(LogitsBenchTest, RefusesWhatDoesNotFit) {
  Write("tokens", "1,2,3\n1,2\n");
  flags_.decode_tokens = 1;
  EXPECT_THAT(Refusal(), HasSubstr("line 2: 2 tokens; allowed are 3"));
  Write("tokens", "1,2,x\n");
  EXPECT_THAT(Refusal(), HasSubstr("line 1: \"x\" is not a token id"));
  Write("tokens", "1,2,300\n");
  EXPECT_THAT(Refusal(), HasSubstr("--tokens: 300; allowed is [0, 300)"));
  Write("tokens", "1\n");
  EXPECT_THAT(Refusal(), HasSubstr("more than --decode-tokens (1)"));
  Write("tokens", "1,2,3\n");
  const std::string out = std::exchange(flags_.out_path, folder_ / "absent/logits");
  EXPECT_THAT(Refusal(1), HasSubstr("--out: cannot write " + flags_.out_path));
  flags_.out_path = out;
  flags_.tokens_path = folder_ / "absent";
  EXPECT_THAT(Refusal(), HasSubstr("absent cannot be read"));
  flags_.serve.values["selection-filter-layers"] = "1";
  flags_.serve.values["num-selected-tokens"] = "100";
  EXPECT_THAT(Refusal(), HasSubstr("--selection-filter-layers: everything is decoded densely"));
}

}  // namespace
}  // namespace tamis
