// SPDX-License-Identifier: Apache-2.0
// Inputs follow from the rank, so rank 0 can work out any result: sums in rank order in float32,
// which every rank must meet bit for bit.
#include "tests/parallel/group_cases.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "kernels/cpu/convert.h"
#include "kernels/ops.h"
#include "tests/parallel/device_tensor.h"

namespace tamis {
namespace {

std::string TextOf(int rank, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) {
    text[i] = static_cast<char>(i * 31 + static_cast<size_t>(rank) * 7);
  }
  return text;
}

// Magnitudes over many powers of two, so that another order of summation shows in the bits.
std::vector<float> FloatsOf(int rank, size_t count, uint32_t seed) {
  uint64_t state = uint64_t{seed} * 1000 + static_cast<uint64_t>(rank) + 1;
  std::vector<float> values(count);
  for (float& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto random = static_cast<uint32_t>(state >> 32);
    const uint32_t exponent = 115 + (random >> 23) % 24;  // 2^-12 to 2^11
    value = std::bit_cast<float>((random & 0x807fffffu) | exponent << 23);
  }
  return values;
}

float Rounded(float value, DType dtype) {
  if (dtype == DType::kBF16) return cpu::ToFloat(cpu::FromFloat<cpu::BF16>(value));
  if (dtype == DType::kF16) return cpu::ToFloat(cpu::FromFloat<cpu::F16>(value));
  return value;
}

// The values as bytes of `dtype`.
std::string Packed(const std::vector<float>& values, DType dtype) {
  std::string bytes(values.size() * DTypeBytes(dtype), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    char* to = bytes.data() + i * DTypeBytes(dtype);
    if (dtype == DType::kF32) {
      std::memcpy(to, &values[i], sizeof(float));
    } else {
      const uint16_t half = dtype == DType::kBF16 ? cpu::FromFloat<cpu::BF16>(values[i]).bits
                                                  : cpu::FromFloat<cpu::F16>(values[i]).bits;
      std::memcpy(to, &half, sizeof half);
    }
  }
  return bytes;
}

std::string ExpectedReduction(int size, size_t count, uint32_t seed, DType dtype, ReduceOp op) {
  std::vector<float> result;
  for (int rank = 0; rank < size; ++rank) {
    std::vector<float> values = FloatsOf(rank, count, seed);
    for (float& value : values) value = Rounded(value, dtype);
    if (rank == 0) {  // not 0 + value: that would lose a negative zero
      result = values;
      continue;
    }
    for (size_t i = 0; i < count; ++i) {
      result[i] = op == ReduceOp::kSum ? result[i] + values[i] : std::max(result[i], values[i]);
    }
  }
  return Packed(result, dtype);
}

void ExpectReduction(Group& group, const Stream& stream, size_t count, uint32_t seed, DType dtype,
                     ReduceOp op) {
  Collectives& collectives = *group.collectives;
  TestTensor x(Packed(FloatsOf(collectives.rank(), count, seed), dtype),
               {static_cast<int64_t>(count)}, dtype, stream, /*offset=*/count % 2);
  collectives.AllReduce(x.view(), op, stream);
  std::string want;  // worked out by one rank, met by all
  if (collectives.rank() == 0) {
    want = ExpectedReduction(collectives.size(), count, seed, dtype, op);
  }
  group.control->Broadcast(&want);
  EXPECT_TRUE(x.Get() == want) << count << " of " << DTypeName(dtype) << " over "
                               << collectives.size() << " ranks";
}

void BroadcastReplacesEveryRanksBytes(Group& group, const Stream&) {
  Control& control = *group.control;
  // Around the packet of the MPI transport (4088 bytes of text), empty, and large.
  for (size_t bytes : {0, 1, 4087, 4088, 4089, 100'000, 3'000'000}) {
    const std::string want = TextOf(0, bytes);
    std::string text = control.rank() == 0 ? want : TextOf(control.rank(), 77);
    control.Broadcast(&text);
    EXPECT_TRUE(text == want) << bytes << " bytes";
  }
}

void GatherKeepsRanksAndLengths(Group& group, const Stream&) {
  Control& control = *group.control;
  for (size_t unit : {0, 1, 3000, 100'000}) {
    const auto bytes_of = [&](int rank) {  // rank 1 sends nothing
      return rank == 1 ? 0 : unit * static_cast<size_t>(rank + 1);
    };
    const std::vector<std::string> all =
        control.AllGather(TextOf(control.rank(), bytes_of(control.rank())));
    ASSERT_EQ(all.size(), static_cast<size_t>(control.size()));
    for (int rank = 0; rank < control.size(); ++rank) {
      EXPECT_TRUE(all[static_cast<size_t>(rank)] == TextOf(rank, bytes_of(rank)))
          << "rank " << rank << ", unit " << unit;
    }
  }
}

void AgreementNeedsEveryRank(Group& group, const Stream&) {
  Control& control = *group.control;
  EXPECT_TRUE(AllAgree(control, true));
  EXPECT_FALSE(AllAgree(control, false));
  for (int odd = 0; odd < control.size(); ++odd) {
    EXPECT_FALSE(AllAgree(control, control.rank() != odd));
  }
  Barrier(control);
}

void SumsInRankOrder(Group& group, const Stream& stream) {
  // Around the ranks' slices and the transports' thresholds and chunks.
  for (size_t count : {1, 2, 3, 7, 576, 4096, 4097, 8192, 8193, 65536, 65537, 294'912}) {
    ExpectReduction(group, stream, count, /*seed=*/1, DType::kF32, ReduceOp::kSum);
  }
}

void SumsHalvesInFloat32(Group& group, const Stream& stream) {
  for (size_t count : {1, 5, 576, 8192, 8193, 131'073}) {
    ExpectReduction(group, stream, count, /*seed=*/2, DType::kBF16, ReduceOp::kSum);
    ExpectReduction(group, stream, count, /*seed=*/3, DType::kF16, ReduceOp::kSum);
  }
}

void TakesMaxima(Group& group, const Stream& stream) {
  for (size_t count : {1, 576, 70'000}) {
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      ExpectReduction(group, stream, count, /*seed=*/4, dtype, ReduceOp::kMax);
    }
  }
  // A number beats NaN on whichever rank it is. Of our own transports: NCCL documents nothing.
  if (stream.device() != DeviceKind::kCpu) return;
  const int rank = group.collectives->rank();
  const int size = group.collectives->size();
  std::vector<float> values(static_cast<size_t>(size) + 1, std::nanf(""));
  values[static_cast<size_t>(rank)] = -3.0f;
  group.collectives->AllReduce(TensorView(values.data(), {size + 1}, DType::kF32, DeviceKind::kCpu),
                               ReduceOp::kMax, stream);
  for (int i = 0; i < size; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], -3.0f);
  EXPECT_TRUE(std::isnan(values.back()));
}

void EmptyTensorsAreNothing(Group& group, const Stream& stream) {
  Collectives& collectives = *group.collectives;
  const DeviceKind device = stream.device();
  collectives.AllReduce(TensorView(nullptr, {0, 576}, DType::kF32, device), ReduceOp::kSum, stream);
  collectives.AllGather(TensorView(nullptr, {collectives.size(), 0}, DType::kI32, device),
                        ConstTensorView(nullptr, {0}, DType::kI32, device), stream);
  ExpectReduction(group, stream, 10, /*seed=*/5, DType::kF32, ReduceOp::kSum);
}

void GathersEveryDType(Group& group, const Stream& stream) {
  Collectives& collectives = *group.collectives;
  const int size = collectives.size();
  for (DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kI64, DType::kU64}) {
    for (int64_t items : {1, 33, 4096, 33'001}) {
      const size_t bytes = static_cast<size_t>(items) * DTypeBytes(dtype);
      const TestTensor x(TextOf(collectives.rank(), bytes), {items}, dtype, stream, items % 2);
      TestTensor out({size, items}, dtype, stream, items % 2);
      collectives.AllGather(out.view(), x.view(), stream);
      const std::string got = out.Get();
      for (int rank = 0; rank < size; ++rank) {
        EXPECT_TRUE(got.compare(static_cast<size_t>(rank) * bytes, bytes, TextOf(rank, bytes)) == 0)
            << "rank " << rank << ", " << items << " of " << DTypeName(dtype);
      }
    }
  }
}

// Calls of all kinds in quick succession: a slot reused too early would mix rounds.
void ManyCallsInARow(Group& group, const Stream& stream) {
  Collectives& collectives = *group.collectives;
  const int size = collectives.size();
  constexpr int64_t kItems = 576;
  std::vector<float> values(kItems);
  TestTensor x({kItems}, DType::kF32, stream);
  TestTensor mine({1}, DType::kI32, stream);
  TestTensor gathered({size, 1}, DType::kI32, stream);
  int wrong = 0;
  for (int i = 0; i < 2000; ++i) {
    for (int64_t item = 0; item < kItems; ++item) {  // small integers: sums are exact
      values[static_cast<size_t>(item)] =
          static_cast<float>((i + item + collectives.rank()) % 1000);
    }
    x.Put(BytesOf(values));
    collectives.AllReduce(x.view(), ReduceOp::kSum, stream);
    values = ValuesOf<float>(x.Get());
    for (int64_t item = 0; item < kItems; item += 25) {
      float want = 0;
      for (int rank = 0; rank < size; ++rank) want += static_cast<float>((i + item + rank) % 1000);
      wrong += values[static_cast<size_t>(item)] == want ? 0 : 1;
    }
    if (i % 3 != 0) continue;
    mine.Put(BytesOf<int32_t>({i * 100 + collectives.rank()}));
    collectives.AllGather(gathered.view(), mine.view(), stream);
    const std::vector<int32_t> all = ValuesOf<int32_t>(gathered.Get());
    for (int rank = 0; rank < size; ++rank) {
      wrong += all[static_cast<size_t>(rank)] == i * 100 + rank ? 0 : 1;
    }
    std::string plan = group.control->rank() == 0 ? std::to_string(i) : "";
    group.control->Broadcast(&plan);
    wrong += plan == std::to_string(i) ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0);
}

void OneRankComesLate(Group& group, const Stream& stream) {
  for (int late = 0; late < group.control->size(); ++late) {
    if (group.control->rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ExpectReduction(group, stream, 576, /*seed=*/6, DType::kF32, ReduceOp::kSum);
    if (group.control->rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Barrier(*group.control);
  }
}

// Fused or composed, the bits are those of the all-reduce followed by the op.
void ExpectNormed(Group& group, const Stream& stream, int64_t rows, int64_t hidden, DType dtype,
                  int64_t offset) {
  Collectives& collectives = *group.collectives;
  const auto items = static_cast<size_t>(rows * hidden);
  const Shape shape = {rows, hidden};
  const TestTensor weight(Packed(FloatsOf(0, static_cast<size_t>(hidden), /*seed=*/8), dtype),
                          {hidden}, dtype, stream, offset);
  const std::string before = Packed(FloatsOf(0, items, /*seed=*/9), dtype);
  TestTensor residual(before, shape, dtype, stream, offset);
  TestTensor want_residual(before, shape, dtype, stream, offset);
  const TestTensor x(Packed(FloatsOf(collectives.rank(), items, /*seed=*/10), dtype), shape, dtype,
                     stream, offset);
  const TestTensor sum(
      ExpectedReduction(collectives.size(), items, /*seed=*/10, dtype, ReduceOp::kSum), shape,
      dtype, stream, offset);
  TestTensor out(shape, dtype, stream, offset);
  TestTensor want(shape, dtype, stream, offset);
  collectives.AllReduceAddRmsNorm(out.view(), residual.view(), x.view(), weight.view(), 1e-5f,
                                  stream);
  ops::AddRmsNorm(want.view(), want_residual.view(), sum.view(), weight.view(), 1e-5f, stream);
  EXPECT_TRUE(out.Get() == want.Get()) << rows << " x " << hidden << " of " << DTypeName(dtype);
  EXPECT_TRUE(residual.Get() == want_residual.Get())
      << rows << " x " << hidden << " of " << DTypeName(dtype);
}

void ReducesAddsAndNormalises(Group& group, const Stream& stream) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    ExpectNormed(group, stream, 3, 96, dtype, /*offset=*/0);
    ExpectNormed(group, stream, 3, 96, dtype, /*offset=*/1);
    ExpectNormed(group, stream, 5, 577, dtype, /*offset=*/0);
    ExpectNormed(group, stream, 1, 4096, dtype, /*offset=*/0);
    ExpectNormed(group, stream, 33, 1024, dtype, /*offset=*/0);
  }
}

}  // namespace

const std::vector<GroupCase>& GroupCases() {
  static const std::vector<GroupCase> cases = {
      {"BroadcastReplacesEveryRanksBytes", BroadcastReplacesEveryRanksBytes},
      {"GatherKeepsRanksAndLengths", GatherKeepsRanksAndLengths},
      {"AgreementNeedsEveryRank", AgreementNeedsEveryRank},
      {"SumsInRankOrder", SumsInRankOrder},
      {"SumsHalvesInFloat32", SumsHalvesInFloat32},
      {"TakesMaxima", TakesMaxima},
      {"EmptyTensorsAreNothing", EmptyTensorsAreNothing},
      {"GathersEveryDType", GathersEveryDType},
      {"ManyCallsInARow", ManyCallsInARow},
      {"OneRankComesLate", OneRankComesLate},
      {"ReducesAddsAndNormalises", ReducesAddsAndNormalises},
      {"ExchangesLists", ExchangesLists},
      {"ExchangesListsWithTies", ExchangesListsWithTies},
  };
  return cases;
}

}  // namespace tamis
