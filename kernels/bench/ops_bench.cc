// SPDX-License-Identifier: Apache-2.0
// CPU ops at the shapes of SmolLM2-135M on one of two ranks, float32. Weights rotate through more
// copies than the caches hold. Bytes and products per call stand beside each counter.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu_threads.h"
#include "kernels/ops.h"

namespace tamis {
namespace {

constexpr int64_t kHeadDim = 64;
constexpr int64_t kGroup = 3;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kBlockTokens = 16;
constexpr size_t kPastCaches = size_t{200} << 20;

// Every element 1/8: real numbers, so that no time goes into NaN or subnormals.
Buffer Ones(int64_t elements) {
  Buffer buffer(MemoryKind::kCpu, static_cast<size_t>(elements) * sizeof(float), "bench");
  std::fill_n(static_cast<float*>(buffer.data()), elements, 0.125f);
  return buffer;
}

void MatMul(benchmark::State& state) {
  SetCpuMathThreads(1);
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const auto weight_bytes = static_cast<size_t>(n * k) * sizeof(float);
  const auto copies = static_cast<int64_t>(std::max<size_t>(1, kPastCaches / weight_bytes));
  const Buffer weights = Ones(copies * n * k), a = Ones(m * k), out = Ones(m * n);
  Scratch scratch(Buffer(MemoryKind::kCpu, 1 << 20, "scratch"));
  const Stream cpu = Stream::Cpu();
  int64_t copy = 0;
  for (auto _ : state) {
    const size_t offset = static_cast<size_t>(copy++ % copies) * weight_bytes;
    ops::MatMul(out.View({m, n}, DType::kF32), a.View({m, k}, DType::kF32),
                weights.View({n, k}, DType::kF32, offset), scratch, cpu);
  }
  // Each call reads n * k weights and forms m * n * k products.
  state.counters["weights"] = benchmark::Counter(static_cast<double>(weight_bytes),
                                                 benchmark::Counter::kIsIterationInvariantRate,
                                                 benchmark::Counter::kIs1000);
  state.counters["flop"] = benchmark::Counter(2.0 * static_cast<double>(m * n * k),
                                              benchmark::Counter::kIsIterationInvariantRate);
}
// Rows of activations x {QKV, attention output, gate and up, down, vocabulary slice}.
BENCHMARK(MatMul)->ArgsProduct({{1, 4, 16, 64}, {640}, {576}});
BENCHMARK(MatMul)->ArgsProduct({{1, 4, 16, 64}, {576}, {384}});
BENCHMARK(MatMul)->ArgsProduct({{1, 4, 16, 64}, {1536}, {576}});
BENCHMARK(MatMul)->ArgsProduct({{1, 4, 16, 64}, {576}, {768}});
BENCHMARK(MatMul)->ArgsProduct({{1, 4, 16}, {24576}, {576}})->Unit(benchmark::kMillisecond);
BENCHMARK(MatMul)->ArgsProduct({{1000}, {640, 1536}, {576}})->Unit(benchmark::kMillisecond);

// `queries` last tokens of a context: 1 decodes, all of them are a whole prefill.
void Attention(benchmark::State& state) {
  const int64_t queries = state.range(0), context = state.range(1);
  const int64_t blocks = (context + kBlockTokens - 1) / kBlockTokens;
  const int64_t width = kKvHeads * kGroup * kHeadDim;
  const Buffer cache = Ones(blocks * kKvHeads * 2 * kBlockTokens * kHeadDim);
  const Buffer q = Ones(queries * width), out = Ones(queries * width);
  const KvPages pages{cache.data(), DType::kF32,  DeviceKind::kCpu, blocks,
                      kKvHeads,     kBlockTokens, kHeadDim};
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  std::iota(table.begin(), table.end(), 0);
  std::vector<int32_t> starts = {0, static_cast<int32_t>(queries)};
  std::vector<int32_t> contexts = {static_cast<int32_t>(context)};
  const auto ints = [](std::vector<int32_t>& values, Shape shape) {
    return TensorView(values.data(), shape, DType::kI32, DeviceKind::kCpu);
  };
  Scratch scratch(Buffer(MemoryKind::kCpu, 4 << 20, "scratch"));
  const Stream cpu = Stream::Cpu();
  const float scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  for (auto _ : state) {
    ops::PrefillAttention(
        out.View({queries, width}, DType::kF32), q.View({queries, width}, DType::kF32), pages,
        {ints(starts, {2}), ints(contexts, {1}), ints(table, {1, blocks}), queries, context}, scale,
        scratch, cpu);
  }
  // Each query head meets every key and value that its token may see.
  const double pairs = static_cast<double>(queries) *
                       (static_cast<double>(context) - static_cast<double>(queries - 1) / 2.0);
  state.counters["kv"] = benchmark::Counter(static_cast<double>(cache.bytes()),
                                            benchmark::Counter::kIsIterationInvariantRate);
  state.counters["flop"] = benchmark::Counter(4.0 * pairs * static_cast<double>(width),
                                              benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(Attention)->Args({1, 1000})->Args({1, 16000})->Unit(benchmark::kMicrosecond);
BENCHMARK(Attention)->Args({1000, 1000})->Args({512, 8000})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tamis

BENCHMARK_MAIN();
