// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "kernels/bench/harness.h"
#include "kernels/bench/read_ceiling.h"
#include "kernels/cuda/dtype.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/philox.h"

namespace tamis::bench {
namespace {

constexpr size_t kScratchBytes = size_t{1} << 30;
constexpr int kReplays = 15;

// Sum of four uniforms, scaled to unit variance.
template <typename T>
__global__ void RandomKernel(T* to, int64_t count, uint64_t seed, float deviation) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const PhiloxBlock block = Philox(seed, static_cast<uint64_t>(i), 0);
    float sum = -2.0f;
    for (const uint32_t word : block.word) sum += UniformOpen(word);
    to[i] = cuda::FromFloat<T>(sum * 1.7320508f * deviation);
  }
}

}  // namespace

Bench::Bench()
    : stream_(Stream::Cuda()),
      scratch_(Buffer(MemoryKind::kCuda, kScratchBytes, "scratch")),
      read_ceiling_(CudaReadCeiling()) {
  std::printf("read ceiling: %.3f TB/s\n", read_ceiling_ / 1e12);
}

TensorView Bench::Random(Shape shape, DType dtype, float deviation) {
  const size_t bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
  const TensorView view =
      buffers_.emplace_back(MemoryKind::kCuda, bytes, "bench").View(shape, dtype);
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) return view;
  cuda::DispatchFloat(dtype, [&](auto tag) {
    using T = decltype(tag);
    RandomKernel<<<2048, 256, 0, stream_.cuda()>>>(static_cast<T*>(view.data), view.elements(),
                                                   buffers_.size(), deviation);
    CheckCuda(cudaGetLastError());
  });
  stream_.Synchronize();
  return view;
}

TensorView Bench::Ints(Shape shape, const std::vector<int32_t>& values) {
  const TensorView view = Random(shape, DType::kI32);
  CHECK_EQ(view.bytes(), values.size() * sizeof(int32_t));
  CopyBytes(view.data, DeviceKind::kCuda, values.data(), DeviceKind::kCpu, view.bytes(), stream_);
  stream_.Synchronize();
  return view;
}

double Bench::MedianUs(int calls, const std::function<void(int)>& call) {
  call(0);  // modules load and choices are made outside the capture
  stream_.Synchronize();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t program = nullptr;
  CheckCuda(cudaStreamBeginCapture(stream_.cuda(), cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) call(i);
  CheckCuda(cudaStreamEndCapture(stream_.cuda(), &graph));
  CheckCuda(cudaGraphInstantiate(&program, graph, 0));
  cudaEvent_t begin = nullptr, end = nullptr;
  CheckCuda(cudaEventCreate(&begin));
  CheckCuda(cudaEventCreate(&end));
  std::vector<double> times;
  for (int replay = 0; replay < kReplays + 2; ++replay) {
    CheckCuda(cudaEventRecord(begin, stream_.cuda()));
    CheckCuda(cudaGraphLaunch(program, stream_.cuda()));
    CheckCuda(cudaEventRecord(end, stream_.cuda()));
    CheckCuda(cudaEventSynchronize(end));
    float ms = 0;
    CheckCuda(cudaEventElapsedTime(&ms, begin, end));
    if (replay >= 2) times.push_back(1000.0 * static_cast<double>(ms) / calls);
  }
  CheckCuda(cudaEventDestroy(begin));
  CheckCuda(cudaEventDestroy(end));
  CheckCuda(cudaGraphExecDestroy(program));
  CheckCuda(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void Bench::Heading(const std::string& title) {
  table_ = title;
  std::printf("\n%s\n", title.c_str());
  std::fflush(stdout);
}

void Bench::Bytes(const std::string& name, double us, double bytes) {
  const double rate = bytes / us * 1e6;
  rows_.push_back({table_, name, us, bytes, 0});
  std::printf("| %-44s | %10.2f us | %6.3f TB/s | %5.1f %% |\n", name.c_str(), us, rate / 1e12,
              100 * rate / read_ceiling_);
  std::fflush(stdout);
}

void Bench::Flops(const std::string& name, double us, double flops) {
  rows_.push_back({table_, name, us, 0, flops});
  std::printf("| %-44s | %10.2f us | %6.1f TFLOP/s |\n", name.c_str(), us, flops / us / 1e6);
  std::fflush(stdout);
}

}  // namespace tamis::bench
