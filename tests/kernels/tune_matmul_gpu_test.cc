// SPDX-License-Identifier: Apache-2.0
// TuneMatMul on the GPU: whatever way it settles for, products of all row counts stay right.
#include "kernels/ops.h"
#include "kernels/tune_matmul.h"
#include "tests/kernels/twins.h"

namespace tamis {
namespace {

class TuneMatMulGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no CUDA device is visible";
    SetCudaDevice(0);
  }
};

// A size of its own for each case: what is tuned once stays for the life of the process.
TEST_F(TuneMatMulGpu, ProductsAgreeWithCpuAfterwards) {
  int64_t columns = 200;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DType out_type : {dtype, DType::kF32}) {
      columns += 8;
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " to " << DTypeName(out_type));
      Twins twins(31);
      const int64_t rows_max = 2100, inner = 72;
      const Twin a = twins.Normal({rows_max, inner}, dtype);
      const Twin tuned_on = twins.Poisoned({rows_max, inner}, dtype);
      const Twin weight = twins.Normal({columns, inner}, dtype, 0.1f);
      const Twin other = twins.Normal({columns, inner}, dtype, 0.1f);
      const Twin out = twins.Poisoned({rows_max, columns}, out_type);
      twins.RunOnGpu([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        TuneMatMul(out.On(d), tuned_on.On(d), {weight.On(d), other.On(d)}, scratch, stream);
      });
      for (const int64_t rows : {1, 5, 17, 100, 1023, 1024, 1700, 2100}) {
        SCOPED_TRACE(testing::Message() << rows << " rows");
        const Twin some = twins.Poisoned({rows, columns}, out_type);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          ops::MatMul(some.On(d), Rows(a.On(d), 0, rows), weight.On(d), scratch, stream);
        });
        twins.ExpectRounded(some, "out");
      }
    }
  }
}

TEST_F(TuneMatMulGpu, NothingOnCpus) {
  Twins twins(32);
  const Twin a = twins.Normal({3, 8}, DType::kF32);
  const Twin weight = twins.Normal({4, 8}, DType::kF32);
  const Twin out = twins.Poisoned({3, 4}, DType::kF32);
  Scratch scratch(Buffer(MemoryKind::kCpu, 1 << 20, "scratch"));
  TuneMatMul(out.cpu, a.cpu, {weight.cpu}, scratch, Stream::Cpu());
  EXPECT_TRUE(std::isnan(out.cpu.As<float>()[0]));
}

}  // namespace
}  // namespace tamis
