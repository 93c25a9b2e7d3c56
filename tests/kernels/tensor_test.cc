// SPDX-License-Identifier: Apache-2.0
#include "kernels/tensor.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/device.h"
#include "kernels/scratch.h"

namespace tamis {
namespace {

TEST(ShapeTest, KnowsRankSizesAndElements) {
  const Shape shape{3, 0, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[2], 5);
  EXPECT_EQ(shape.elements(), 0);
  EXPECT_EQ(shape.ToString(), "[3, 0, 5]");
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_DEATH(static_cast<void>(shape[3]), "dimension 3 of 3");
}

TEST(TensorTest, RowsColumnsAndReshapeAddressTheSameElements) {
  std::vector<float> data(24);
  const TensorView x(data.data(), {4, 6}, DType::kF32, DeviceKind::kCpu);
  const TensorView rows = Rows(x, 1, 2);
  EXPECT_EQ(rows.shape, Shape({2, 6}));
  EXPECT_EQ(rows.data, &data[6]);
  EXPECT_TRUE(rows.contiguous());
  const TensorView columns = Columns(rows, 2, 3);
  EXPECT_EQ(columns.shape, Shape({2, 3}));
  EXPECT_EQ(columns.data, &data[8]);
  EXPECT_EQ(columns.row_stride, 6);
  EXPECT_FALSE(columns.contiguous());
  EXPECT_EQ(Rows(columns, 1, 1).data, &data[14]);
  EXPECT_EQ(Reshape(rows, {3, 4}).row_stride, 4);
  EXPECT_EQ(x.bytes(), 96u);
}

TEST(TensorDeathTest, ViewsStayInsideAndTyped) {
  std::vector<float> data(24);
  const TensorView x(data.data(), {4, 6}, DType::kF32, DeviceKind::kCpu);
  EXPECT_DEATH(Rows(x, 3, 2), "rows 3\\+2 of \\[4, 6\\]");
  EXPECT_DEATH(Columns(x, -1, 2), "columns -1\\+2 of \\[4, 6\\]");
  EXPECT_DEATH(Reshape(Columns(x, 0, 3), {12}), "strided view");
  EXPECT_DEATH(Reshape(x, {5, 5}), "\\[4, 6\\] as \\[5, 5\\]");
  EXPECT_DEATH(static_cast<void>(x.As<int32_t>()), "view of float32");
}

TEST(BufferTest, IsAlignedAndZeroAtEverySize) {
  for (const size_t bytes : {size_t{1}, size_t{100}, size_t{1} << 20, (size_t{3} << 20) + 5}) {
    const Buffer buffer(MemoryKind::kCpu, bytes, "test");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    const auto* data = static_cast<const unsigned char*>(buffer.data());
    for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0) << i << " of " << bytes;
  }
  EXPECT_EQ(Buffer(MemoryKind::kCpu, 0, "nothing").data(), nullptr);
}

TEST(BufferTest, MovesAndOutlivesItsOldOwner) {
  Buffer first(MemoryKind::kPinned, 64, "first");
  void* data = first.data();
  Buffer second(std::move(first));
  EXPECT_EQ(second.data(), data);
  Buffer third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.device(), DeviceKind::kCpu);
}

TEST(BufferDeathTest, RefusesViewsOutsideAndImpossibleSizes) {
  const Buffer buffer(MemoryKind::kCpu, 64, "test");
  EXPECT_DEATH(static_cast<void>(buffer.View({17}, DType::kF32)), "view \\[17\\] of float32");
  EXPECT_DEATH(static_cast<void>(buffer.View({1}, DType::kF32, 2)), "misaligned");
  EXPECT_DEATH(Buffer(MemoryKind::kCpu, size_t{1} << 60, "the KV pool"), "for the KV pool");
}

TEST(StreamTest, CpuWorkIsDoneWhenRecorded) {
  const Stream stream = Stream::Cpu();
  Event event(DeviceKind::kCpu);
  event.Record(stream);
  EXPECT_TRUE(event.Done());
  event.Wait();
  stream.Synchronize();
  const float from[2] = {1.0f, 2.0f};
  float to[2] = {};
  CopyBytes(to, DeviceKind::kCpu, from, DeviceKind::kCpu, sizeof from, stream);
  EXPECT_EQ(to[1], 2.0f);
}

TEST(ScratchTest, GivesBackAtTheEndOfTheScopeAndRemembersTheMost) {
  Scratch scratch(Buffer(MemoryKind::kCpu, 1024, "test"));
  void* first = nullptr;
  {
    const ScratchScope scope(scratch);
    first = scratch.Take({3}, DType::kF32).data;
    const TensorView next = scratch.Take({100}, DType::kF32);
    EXPECT_EQ(static_cast<std::byte*>(next.data) - static_cast<std::byte*>(first), 256);
    EXPECT_DEATH(scratch.Take({1000}, DType::kF32), "scratch exhausted by \\[1000\\]");
  }
  EXPECT_EQ(scratch.Take({1}, DType::kF32).data, first);
  EXPECT_EQ(scratch.high_water(), 656u);
}

TEST(DeviceDeathTest, CudaPartsSayThatThereIsNone) {
  if (CudaBuilt()) GTEST_SKIP() << "built with CUDA";
  EXPECT_EQ(CudaDeviceCount(), 0);
  EXPECT_DEATH(Stream::Cuda(), "built without CUDA");
  EXPECT_DEATH(SetCudaDevice(0), "built without CUDA");
  EXPECT_DEATH(Buffer(MemoryKind::kCuda, 64, "weights"), "weights: built without CUDA");
}

}  // namespace
}  // namespace tamis
