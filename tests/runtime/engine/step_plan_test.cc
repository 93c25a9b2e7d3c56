// SPDX-License-Identifier: Apache-2.0
// Plans survive the wire, and nothing else does.
#include "runtime/engine/step_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace tamis {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int32_t Int() { return static_cast<int32_t>(engine_()); }
  uint64_t Word() { return engine_(); }
  size_t Below(size_t end) { return static_cast<size_t>(engine_() % end); }
  bool Coin() { return engine_() % 2 == 0; }
  float Float() { return static_cast<float>(engine_() % 1000) / 999.0f; }

 private:
  std::mt19937_64 engine_;
};

StepPlan RandomPlan(Random& random) {
  StepPlan plan;
  plan.step_id = static_cast<int64_t>(random.Word());
  plan.kind = static_cast<PlanKind>(random.Below(3));
  plan.confirmed_step = static_cast<int64_t>(random.Word());
  for (size_t i = random.Below(5); i > 0; --i)
    plan.confirmed.push_back({random.Int(), random.Int()});
  for (size_t i = random.Below(5); i > 0; --i) plan.freed_slots.push_back(random.Int());
  for (size_t i = random.Below(5); i > 0; --i) plan.grants.push_back({random.Int(), random.Int()});
  for (size_t i = random.Below(20); i > 0; --i) plan.block_ids.push_back(random.Int());
  for (size_t i = random.Below(6); i > 0; --i) {
    PlanSequence part;
    part.slot = random.Int();
    part.position = random.Int();
    part.num_tokens = random.Int();
    part.is_decode = random.Coin();
    part.is_replay = random.Coin();
    part.samples = random.Coin();
    part.selection = {random.Int(), random.Int(), random.Int(), random.Int(), random.Int()};
    part.temperature = random.Float();
    part.top_k = random.Int();
    part.top_p = random.Float();
    part.min_p = random.Float();
    part.seed = random.Word();
    part.num_logprobs = random.Int();
    plan.sequences.push_back(part);
  }
  for (size_t i = random.Below(40); i > 0; --i) plan.token_ids.push_back(random.Int());
  return plan;
}

TEST(StepPlanTest, RoundTrip) {
  Random random(1);
  std::string bytes;
  StepPlan decoded = RandomPlan(random);  // what was there before must not shine through
  for (int i = 0; i < 2000; ++i) {
    const StepPlan plan = RandomPlan(random);
    EncodeStepPlan(plan, &bytes);
    ASSERT_TRUE(DecodeStepPlan(bytes, &decoded));
    ASSERT_EQ(plan, decoded);
  }
}

TEST(StepPlanTest, CorruptBytesAreRefused) {
  Random random(2);
  StepPlan decoded;
  for (int i = 0; i < 10'000; ++i) {
    std::string bytes;
    EncodeStepPlan(RandomPlan(random), &bytes);
    std::string corrupt = bytes;
    switch (random.Below(4)) {
      case 0:
        corrupt[random.Below(corrupt.size())] ^= static_cast<char>(1 << random.Below(8));
        break;
      case 1: corrupt.resize(random.Below(corrupt.size())); break;
      case 2: corrupt.append(1 + random.Below(16), static_cast<char>(random.Int())); break;
      default:
        for (size_t j = 0; j < 8; ++j) {
          corrupt[random.Below(corrupt.size())] = static_cast<char>(random.Int());
        }
    }
    if (corrupt == bytes) continue;
    ASSERT_FALSE(DecodeStepPlan(corrupt, &decoded)) << "corruption " << i;
  }
  EXPECT_FALSE(DecodeStepPlan("", &decoded));
}

// The checksum guards against accidents; the structure is checked on its own.
TEST(StepPlanTest, AWellSummedPlanOfWrongStructureIsRefused) {
  const auto with_checksum = [](std::string body) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : body) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    return std::string(reinterpret_cast<const char*>(&hash), sizeof(hash)) + body;
  };
  Random random(3);
  std::string bytes;
  EncodeStepPlan(RandomPlan(random), &bytes);
  const std::string body = bytes.substr(8);
  StepPlan decoded;
  ASSERT_TRUE(DecodeStepPlan(with_checksum(body), &decoded));
  std::string other_version = body;
  other_version[0] = 1;
  EXPECT_FALSE(DecodeStepPlan(with_checksum(other_version), &decoded));
  std::string other_kind = body;
  other_kind[9] = 3;
  EXPECT_FALSE(DecodeStepPlan(with_checksum(other_kind), &decoded));
  EXPECT_FALSE(DecodeStepPlan(with_checksum(body + '\0'), &decoded));
  for (size_t size = 0; size < body.size(); ++size) {
    ASSERT_FALSE(DecodeStepPlan(with_checksum(body.substr(0, size)), &decoded)) << size;
  }
  // Lengths that promise more than follows must not make the decoder allocate it.
  std::string huge_list = body.substr(0, 18) + std::string(4, '\xff') + body.substr(22);
  EXPECT_FALSE(DecodeStepPlan(with_checksum(huge_list), &decoded));
}

TEST(StepPlanTest, Describe) {
  StepPlan plan;
  plan.step_id = 12;
  EXPECT_EQ(DescribePlan(plan), "step 12: idle");
  plan.kind = PlanKind::kShutdown;
  EXPECT_EQ(DescribePlan(plan), "step 12: shutdown");
  plan.kind = PlanKind::kRun;
  plan.sequences.resize(3);
  plan.sequences[0].is_decode = true;
  plan.sequences[1].num_tokens = 150;
  plan.sequences[2].num_tokens = 50;
  EXPECT_EQ(DescribePlan(plan), "step 12: 1 decode, 2 prefill 200 tokens");
}

TEST(StepPlanTest, ClearKeepsMemory) {
  Random random(4);
  StepPlan plan;
  plan.token_ids.assign(1000, 7);
  const int32_t* memory = plan.token_ids.data();
  plan.Clear();
  EXPECT_EQ(plan, StepPlan{});
  plan.token_ids.assign(1000, 8);
  EXPECT_EQ(plan.token_ids.data(), memory);
}

}  // namespace
}  // namespace tamis
