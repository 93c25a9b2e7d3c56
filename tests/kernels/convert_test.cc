// SPDX-License-Identifier: Apache-2.0
// The 16-bit types, exhaustively, and the building blocks that have published answers.
#include "kernels/cpu/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/exp.h"
#include "kernels/order_key.h"
#include "kernels/philox.h"

namespace tamis::cpu {
namespace {

// The value of a 16-bit float by its definition.
double Decode(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits >> 15 != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

template <typename T>
void ExpectEveryValueDecodesAndReturns(int exponent_bits, int mantissa_bits) {
  for (int bits = 0; bits < 65536; ++bits) {
    const T x{static_cast<uint16_t>(bits)};
    const double exact = Decode(x.bits, exponent_bits, mantissa_bits);
    const float decoded = ToFloat(x);
    if (std::isnan(exact)) {
      ASSERT_TRUE(std::isnan(decoded)) << bits;
      ASSERT_TRUE(std::isnan(ToFloat(FromFloat<T>(decoded)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(decoded), exact) << bits;
      ASSERT_EQ(FromFloat<T>(decoded).bits, bits);
    }
  }
}

// Between two neighbours: below the middle goes down, above it up, the middle to the even one.
template <typename T>
void ExpectRoundsToNearestEven(int bits_of_infinity) {
  for (int bits = 0; bits + 1 < bits_of_infinity; ++bits) {
    const float low = ToFloat(T{static_cast<uint16_t>(bits)});
    const float high = ToFloat(T{static_cast<uint16_t>(bits + 1)});
    const float middle = low + (high - low) * 0.5f;  // exact in float32
    const int even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(FromFloat<T>(middle).bits, even) << bits;
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, std::numeric_limits<float>::infinity())).bits,
              bits + 1);
    ASSERT_EQ(FromFloat<T>(-middle).bits, even | 0x8000);
  }
}

TEST(ConvertTest, EveryFloat16) {
  ExpectEveryValueDecodesAndReturns<F16>(5, 10);
  ExpectRoundsToNearestEven<F16>(0x7c00);
}

TEST(ConvertTest, EveryBfloat16) {
  ExpectEveryValueDecodesAndReturns<BF16>(8, 7);
  ExpectRoundsToNearestEven<BF16>(0x7f80);
}

TEST(ConvertTest, OverflowBecomesInfinity) {
  EXPECT_EQ(FromFloat<F16>(65519.0f).bits, 0x7bff);
  EXPECT_EQ(FromFloat<F16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(FromFloat<F16>(-1e30f).bits, 0xfc00);
  EXPECT_EQ(FromFloat<BF16>(std::numeric_limits<float>::max()).bits, 0x7f80);
}

TEST(ExpTest, IsWithinTwoUlpEverywhere) {
  double worst = 0.0;
  for (float x = -87.3f; x < 88.7f; x += 0.000731f) {
    const double exact = std::exp(static_cast<double>(x));
    const float rounded = static_cast<float>(exact);
    const double ulp =
        static_cast<double>(std::nextafter(rounded, std::numeric_limits<float>::infinity())) -
        static_cast<double>(rounded);
    worst = std::max(worst, std::abs(static_cast<double>(Exp(x)) - exact) / ulp);
  }
  EXPECT_LT(worst, 2.0);
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-0.0f), 1.0f);
}

TEST(ExpTest, LimitsAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Exp(-kInfinity), 0.0f);
  EXPECT_EQ(Exp(-1000.0f), 0.0f);
  EXPECT_EQ(Exp(kInfinity), kInfinity);
  EXPECT_EQ(Exp(89.0f), kInfinity);
  EXPECT_TRUE(std::isfinite(Exp(88.722f)));
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
}

TEST(OrderKeyTest, OrdersAllFloats) {
  const float ascending[] = {
      -std::numeric_limits<float>::infinity(), -1e30f, -1.0f, -1e-40f, 0.0f, 1e-40f, 1.0f,
      std::numeric_limits<float>::infinity()};
  for (size_t i = 1; i < std::size(ascending); ++i) {
    EXPECT_LT(OrderKey(ascending[i - 1]), OrderKey(ascending[i])) << i;
  }
  EXPECT_EQ(OrderKey(-0.0f), OrderKey(0.0f));
  EXPECT_EQ(OrderKey(std::nanf("")), 0u);
  EXPECT_LT(OrderKey(-std::nanf("")), OrderKey(-std::numeric_limits<float>::infinity()));
  EXPECT_TRUE(Precedes(1.0f, 9, 0.5f, 1));
  EXPECT_TRUE(Precedes(-0.0f, 1, 0.0f, 2));
  EXPECT_FALSE(Precedes(0.0f, 2, -0.0f, 1));
}

// The known answers that come with the authors' own implementation.
TEST(PhiloxTest, KnownAnswers) {
  const PhiloxBlock zero = Philox(0, 0, 0);
  EXPECT_EQ(zero.word[0], 0x6627e8d5u);
  EXPECT_EQ(zero.word[1], 0xe169c58du);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8u);
  const PhiloxBlock pi = Philox(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu);
  EXPECT_EQ(pi.word[0], 0xd16cfe09u);
  EXPECT_EQ(pi.word[1], 0x94fdccebu);
  EXPECT_EQ(pi.word[2], 0x5001e420u);
  EXPECT_EQ(pi.word[3], 0x24126ea1u);
}

TEST(PhiloxTest, UniformStaysInsideTheOpenInterval) {
  EXPECT_GT(UniformOpen(0), 0.0f);
  EXPECT_LT(UniformOpen(~0u), 1.0f);
}

}  // namespace
}  // namespace tamis::cpu
