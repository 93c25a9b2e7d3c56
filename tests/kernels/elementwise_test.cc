// SPDX-License-Identifier: Apache-2.0
// Normalisation, the gate, rotary embedding and products against loops in double precision.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/vector_loops.h"
#include "kernels/ops.h"
#include "tests/kernels/test_tensor.h"

namespace tamis {
namespace {

using testing::kFloatTypes;
using testing::TestScratch;
using testing::TestTensor;
using testing::Tolerance;

class ElementwiseTest : public ::testing::TestWithParam<DType> {
 protected:
  std::mt19937 random_{20240817};
  Stream cpu_ = Stream::Cpu();
};

INSTANTIATE_TEST_SUITE_P(Types, ElementwiseTest, ::testing::ValuesIn(kFloatTypes),
                         [](const auto& type) { return DTypeName(type.param); });

void ExpectNormOf(const TestTensor& out, const TestTensor& x, const TestTensor& weight,
                  int64_t rows, int64_t width, double eps, DType dtype) {
  for (int64_t t = 0; t < rows; ++t) {
    double squares = 0.0;
    for (int64_t i = 0; i < width; ++i) squares += std::pow(x.At(t * width + i), 2);
    const double rms = std::sqrt(squares / static_cast<double>(width) + eps);
    for (int64_t i = 0; i < width; ++i) {
      const double exact = x.At(t * width + i) / rms * weight.At(i);
      ASSERT_NEAR(out.At(t * width + i), exact, Tolerance(dtype, exact)) << t << ", " << i;
    }
  }
}

TEST_P(ElementwiseTest, RmsNormAlsoInPlace) {
  for (const int64_t width : {1, 7, 16, 33, 576}) {
    const TestTensor x = TestTensor::Random({3, width}, GetParam(), random_, 3.0f);
    const TestTensor weight = TestTensor::Random({width}, GetParam(), random_);
    const TestTensor out({3, width}, GetParam());
    ops::RmsNorm(out, x, weight, 1e-2f, cpu_);
    ExpectNormOf(out, x, weight, 3, width, 1e-2, GetParam());
    const TestTensor again = TestTensor::Floats({3, width}, GetParam(), x.ToVector());
    ops::RmsNorm(again, again, weight, 1e-2f, cpu_);
    EXPECT_EQ(again.ToVector(), out.ToVector());
  }
}

TEST_P(ElementwiseTest, AddRmsNormRoundsTheResidualFirst) {
  constexpr int64_t kWidth = 45;
  const TestTensor x = TestTensor::Random({4, kWidth}, GetParam(), random_);
  const TestTensor residual = TestTensor::Random({4, kWidth}, GetParam(), random_);
  const TestTensor weight = TestTensor::Random({kWidth}, GetParam(), random_);
  TestTensor sum({4, kWidth}, GetParam());
  for (int64_t i = 0; i < sum.size(); ++i) sum.Set(i, residual.At(i) + x.At(i));
  ops::AddRmsNorm(x, residual, x, weight, 1e-5f, cpu_);  // out aliases x
  EXPECT_EQ(residual.ToVector(), sum.ToVector());
  ExpectNormOf(x, sum, weight, 4, kWidth, 1e-5, GetParam());
}

TEST_P(ElementwiseTest, SiluMul) {
  for (const int64_t width : {1, 19, 600}) {
    const TestTensor gate_up = TestTensor::Random({3, 2 * width}, GetParam(), random_, 4.0f);
    const TestTensor out({3, width}, GetParam());
    ops::SiluMul(out, gate_up, cpu_);
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        const double gate = gate_up.At(t * 2 * width + i);
        const double exact = gate / (1.0 + std::exp(-gate)) * gate_up.At((2 * t + 1) * width + i);
        ASSERT_NEAR(out.At(t * width + i), exact, Tolerance(GetParam(), exact));
      }
    }
  }
}

TEST_P(ElementwiseTest, MatMulSiluMulIsTheTwoOps) {
  constexpr int64_t kTokens = 3, kInner = 24, kWidth = 19;
  const TestTensor a = TestTensor::Random({kTokens, kInner}, GetParam(), random_);
  const TestTensor weight = TestTensor::Random({2 * kWidth, kInner}, GetParam(), random_);
  const TestTensor product({kTokens, 2 * kWidth}, GetParam());
  const TestTensor work({kTokens, 2 * kWidth}, GetParam());
  const TestTensor expected({kTokens, kWidth}, GetParam());
  const TestTensor out({kTokens, kWidth}, GetParam());
  Scratch scratch = TestScratch();
  ops::MatMul(product, a, weight, scratch, cpu_);
  ops::SiluMul(expected, product, cpu_);
  ops::MatMulSiluMul(out, work, a, weight, scratch, cpu_);
  EXPECT_EQ(out.ToVector(), expected.ToVector());
}

TEST(SiluMulTest, FarFromZeroItIsTheGateOrNothing) {
  const TestTensor gate_up =
      TestTensor::Floats({1, 6}, DType::kF32, {100.0f, -100.0f, -3e38f, 2.0f, 2.0f, 2.0f});
  const TestTensor out({1, 3}, DType::kF32);
  ops::SiluMul(out, gate_up, Stream::Cpu());
  EXPECT_EQ(out.At(0), 200.0f);
  EXPECT_NEAR(out.At(1), 0.0f, 1e-37f);
  EXPECT_EQ(out.At(2), 0.0f);
}

TEST_P(ElementwiseTest, RopeRotatesQueriesAndKeysAndStoresTheRest) {
  constexpr int64_t kHead = 6, kQ = 3, kKv = 2, kPage = 4, kBlocks = 3;
  constexpr int64_t kWidth = (kQ + 2 * kKv) * kHead;
  const TestTensor before = TestTensor::Random({4, kWidth}, GetParam(), random_);
  const TestTensor qkv = TestTensor::Floats({4, kWidth}, GetParam(), before.ToVector());
  TestTensor pages_data({kBlocks, kKv, 2, kPage * kHead}, GetParam());
  pages_data.Fill(77.0f);
  const KvPages pages{
      pages_data.view().data, GetParam(), DeviceKind::kCpu, kBlocks, kKv, kPage, kHead};
  const std::vector<int32_t> positions = {0, 1, 500, 9000};
  const std::vector<int32_t> slots = {5, 0, -1, 11};
  const std::vector<float> inv_freq = {1.0f, 0.1f, 0.01f};
  ops::RopeAndStoreKv(qkv, pages, TestTensor::Ints(positions), TestTensor::Ints(slots),
                      TestTensor::Floats({3}, DType::kF32, inv_freq), kQ, cpu_);
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t h = 0; h < kQ + 2 * kKv; ++h) {
      for (int64_t i = 0; i < kHead; ++i) {
        const int64_t at = t * kWidth + h * kHead;
        double exact = before.At(at + i);
        if (h < kQ + kKv) {
          const size_t pair = static_cast<size_t>(i % 3);
          const float angle =
              static_cast<float>(positions[static_cast<size_t>(t)]) * inv_freq[pair];
          const double other = before.At(at + (i + 3) % kHead);
          exact = exact * std::cos(static_cast<double>(angle)) +
                  (i < 3 ? -other : other) * std::sin(static_cast<double>(angle));
        }
        ASSERT_NEAR(qkv.At(at + i), exact, Tolerance(GetParam(), exact)) << t << " " << h;
      }
    }
  }
  for (int64_t slot = 0; slot < kBlocks * kPage; ++slot) {
    const auto found = std::find(slots.begin(), slots.end(), static_cast<int32_t>(slot));
    for (int64_t h = 0; h < kKv; ++h) {
      for (int64_t part = 0; part < 2; ++part) {
        for (int64_t i = 0; i < kHead; ++i) {
          const int64_t at =
              (((slot / kPage * kKv + h) * 2 + part) * kPage + slot % kPage) * kHead + i;
          const int64_t row = found - slots.begin();
          const float expected = found == slots.end()
                                     ? 77.0f
                                     : qkv.At(row * kWidth + (kQ + part * kKv + h) * kHead + i);
          ASSERT_EQ(pages_data.At(at), expected) << "slot " << slot;
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, MatMulRopeAndStoreKvIsTheTwoOps) {
  constexpr int64_t kTokens = 3, kInner = 24, kHead = 6, kQ = 3, kKv = 2, kPage = 4, kBlocks = 2;
  constexpr int64_t kWidth = (kQ + 2 * kKv) * kHead;
  const TestTensor a = TestTensor::Random({kTokens, kInner}, GetParam(), random_);
  const TestTensor weight = TestTensor::Random({kWidth, kInner}, GetParam(), random_);
  const TestTensor positions = TestTensor::Ints({0, 77, 4095});
  const TestTensor slots = TestTensor::Ints({6, -1, 1});
  const TestTensor inv_freq = TestTensor::Floats({3}, DType::kF32, {1.0f, 0.1f, 0.01f});
  Scratch scratch = TestScratch();
  std::vector<float> pages_seen[2], qkv_seen[2];
  for (const bool fused : {false, true}) {
    const TestTensor qkv({kTokens, kWidth}, GetParam());
    TestTensor data({kBlocks, kKv, 2, kPage * kHead}, GetParam());
    data.Fill(77.0f);
    const KvPages pages{data.view().data, GetParam(), DeviceKind::kCpu, kBlocks, kKv, kPage, kHead};
    if (fused) {
      ops::MatMulRopeAndStoreKv(qkv, a, weight, pages, positions, slots, inv_freq, kQ, scratch,
                                cpu_);
    } else {
      ops::MatMul(qkv, a, weight, scratch, cpu_);
      ops::RopeAndStoreKv(qkv, pages, positions, slots, inv_freq, kQ, cpu_);
    }
    pages_seen[fused] = data.ToVector();
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < kQ * kHead; ++i) qkv_seen[fused].push_back(qkv.At(t * kWidth + i));
    }
  }
  EXPECT_EQ(pages_seen[true], pages_seen[false]);
  EXPECT_EQ(qkv_seen[true], qkv_seen[false]);
}

void ExpectProduct(DType dtype, DType out_dtype, int64_t m, int64_t n, int64_t k, int64_t stride,
                   std::mt19937& random) {
  const TestTensor wide = TestTensor::Random({m, stride}, dtype, random);
  const TestTensor weight = TestTensor::Random({n, k}, dtype, random);
  const TestTensor out({m, n}, out_dtype);
  Scratch scratch = TestScratch();
  ops::MatMul(out, Columns(wide.view(), stride - k, k), weight, scratch, Stream::Cpu());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double exact = 0.0;
      double magnitude = 0.0;
      for (int64_t l = 0; l < k; ++l) {
        const double term =
            static_cast<double>(wide.At(i * stride + stride - k + l)) * weight.At(j * k + l);
        exact += term;
        magnitude += std::abs(term);
      }
      // A float32 sum of k terms in any order: k/2 roundings of half a unit would be typical; the
      // bound below is a tenth of the worst case for k >= 100.
      const double error = 0x1p-24 * magnitude * (4.0 + static_cast<double>(k) / 10.0);
      ASSERT_NEAR(out.At(i * n + j), exact, Tolerance(out_dtype, exact, error))
          << m << "x" << n << "x" << k << " at " << i << ", " << j;
    }
  }
}

TEST_P(ElementwiseTest, MatMulOfOddShapes) {
  for (const int64_t m : {1, 2, 3, 4, 5, 33, 70}) {
    ExpectProduct(GetParam(), GetParam(), m, 13, 37, 37, random_);
    ExpectProduct(GetParam(), DType::kF32, m, 9, 16, 20, random_);
  }
  ExpectProduct(GetParam(), GetParam(), 300, 261, 5, 5, random_);
  ExpectProduct(GetParam(), DType::kF32, 0, 4, 8, 8, random_);
}

TEST(VectorLoopsTest, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(7);
  constexpr int64_t kRows = 7, kDim = 48, kTokens = 96, kInner = 83;
  const TestTensor q = TestTensor::Random({kRows, kDim}, DType::kF32, random);
  const TestTensor kv = TestTensor::Random({kTokens, kDim}, DType::kF32, random);
  const TestTensor weight = TestTensor::Random({11, kInner}, DType::kF32, random);
  const TestTensor a = TestTensor::Random({kRows, kInner}, DType::kF32, random);
  std::vector<std::vector<float>> results;
  for (const cpu::VectorLoops* loops : cpu::RunnableVectorLoops().loops) {
    if (loops == nullptr) break;
    TestTensor logits({kRows, kTokens}, DType::kF32);
    TestTensor acc = TestTensor::Floats({kRows, kDim}, DType::kF32, q.ToVector());
    TestTensor silu({kRows * kDim}, DType::kF32);
    TestTensor product({kRows, 11}, DType::kF32);
    float* p = logits.view().As<float>();
    loops->dot_tiles(p, q.view().As<float>(), kv.view().As<float>(), kRows, kTokens / 16, kDim,
                     kTokens, 0.125f);
    std::vector<float> result;
    for (int64_t r = 0; r < kRows; ++r) {
      const cpu::MaxAndSum unwritten = loops->exp_sum(p + r * kTokens, kTokens - r);
      const cpu::MaxAndSum softmax = loops->exp_row(p + r * kTokens, kTokens - r);
      EXPECT_EQ(unwritten.sum, softmax.sum);
      result.push_back(softmax.max);
      result.push_back(softmax.sum);
    }
    loops->add_weighted_values(acc.view().As<float>(), p, kv.view().As<float>(), kRows, kTokens,
                               kDim, kTokens);
    loops->silu_mul(silu.view().As<float>(), q.view().As<float>(), kv.view().As<float>(),
                    kRows * kDim);
    loops->row_products(product.view().As<float>(), 11, a.view().As<float>(), kInner,
                        weight.view().As<float>(), kRows, 11, kInner);
    for (const TestTensor* part : {&logits, &acc, &silu, &product}) {
      for (const float x : part->ToVector()) result.push_back(x);
    }
    results.push_back(result);
    EXPECT_EQ(result, results[0]) << loops->name;
  }
}

TEST(FillRandomTest, ASliceHasTheValuesOfTheWhole) {
  const TestTensor whole({6, 19}, DType::kF32);
  ops::FillRandom(whole.view(), 7, 0, 0, 2.0f, 0.5f, Stream::Cpu());
  for (const int64_t column : {0, 1, 4, 7}) {
    const TestTensor slice({3, 9}, DType::kF32);
    ops::FillRandom(slice.view(), 7, 2, column, 2.0f, 0.5f, Stream::Cpu());
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < 9; ++c) {
        EXPECT_EQ(slice.At(r * 9 + c), whole.At((r + 2) * 19 + column + c));
      }
    }
  }
}

TEST(FillRandomTest, ValuesAreUniformAndOfOneKey) {
  const TestTensor x({100, 1000}, DType::kF32), y({100, 1000}, DType::kF32);
  ops::FillRandom(x.view(), 1, 0, 0, 1.0f, 2.0f, Stream::Cpu());
  ops::FillRandom(y.view(), 2, 0, 0, 1.0f, 2.0f, Stream::Cpu());
  double sum = 0, squares = 0;
  int64_t equal = 0;
  for (int64_t i = 0; i < 100000; ++i) {
    EXPECT_GT(x.At(i), -1.0);
    EXPECT_LT(x.At(i), 3.0);
    sum += x.At(i);
    squares += (x.At(i) - 1.0) * (x.At(i) - 1.0);
    equal += x.At(i) == y.At(i);
  }
  EXPECT_NEAR(sum / 100000, 1.0, 0.02);
  EXPECT_NEAR(squares / 100000, 4.0 / 3.0, 0.02);  // reach^2 / 3
  EXPECT_LT(equal, 10);
}

TEST(MatMulTest, ARowOfFewDoesNotDependOnTheOthers) {
  std::mt19937 random(3);
  Scratch scratch = TestScratch();
  const int64_t rows = cpu::BestVectorLoops().few_rows;
  const TestTensor a = TestTensor::Random({rows, 100}, DType::kF32, random);
  const TestTensor weight = TestTensor::Random({23, 100}, DType::kF32, random);
  const TestTensor all({rows, 23}, DType::kF32);
  ops::MatMul(all, a, weight, scratch, Stream::Cpu());
  for (int64_t r = 0; r < rows; ++r) {
    const TestTensor one({1, 23}, DType::kF32);
    ops::MatMul(one, Rows(a.view(), r, 1), weight, scratch, Stream::Cpu());
    for (int64_t j = 0; j < 23; ++j) EXPECT_EQ(one.At(j), all.At(r * 23 + j));
  }
}

}  // namespace
}  // namespace tamis
