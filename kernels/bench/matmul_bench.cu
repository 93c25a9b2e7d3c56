// SPDX-License-Identifier: Apache-2.0
// Products with few rows at Llama-3-8B's shapes: our kernels beside cuBLASLt.
// Bytes: 2 x N x K of weights.
#include <algorithm>

#include "kernels/bench/harness.h"
#include "kernels/cuda/matmul.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

struct Layer {
  const char* name;
  int64_t columns, inner;
};
constexpr Layer kLayers[] = {{"qkv", 6144, 4096},
                             {"o", 4096, 4096},
                             {"gate_up", 28672, 4096},
                             {"down", 4096, 14336},
                             {"head", 128256, 4096}};

void OneLayer(Bench& bench, const Layer& layer) {
  const double bytes = 2.0 * static_cast<double>(layer.columns * layer.inner);
  const int copies = std::max(2, static_cast<int>(600e6 / bytes));
  std::vector<TensorView> weights;
  for (int i = 0; i < copies; ++i) {
    weights.push_back(bench.Random({layer.columns, layer.inner}, DType::kBF16, 0.02f));
  }
  const TensorView workspace =
      bench.Random({static_cast<int64_t>(cuda::kCublasWorkspaceBytes / 4)}, DType::kI32);
  for (const int64_t rows : {1, 2, 4, 8, 16, 17, 24, 32, 48, 64}) {
    const TensorView a = bench.Random({rows, layer.inner}, DType::kBF16);
    const TensorView out = bench.Random({rows, layer.columns}, DType::kBF16);
    const auto weight = [&](int i) { return weights[static_cast<size_t>(i % copies)]; };
    const std::string name = std::string(layer.name) + " M=" + std::to_string(rows);
    if (cuda::FitsSkinnyMatMul(a, weight(0)) || cuda::FitsFewRowsMatMul(a, weight(0))) {
      const double ours = bench.MedianUs(2 * copies, [&](int i) {
        ops::MatMul(out, a, weight(i), bench.scratch(), bench.stream());
      });
      bench.Bytes(name + " ours", ours, bytes);
    }
    const double library = bench.MedianUs(2 * copies, [&](int i) {
      cuda::CublasMatMul(out, a, weight(i), workspace, bench.stream());
    });
    bench.Bytes(name + " cuBLASLt", library, bytes);
  }
  bench.Release();
}

}  // namespace

void BenchMatMul(Bench& bench) {
  bench.Heading("Products, bf16, weights rotating");
  for (const Layer& layer : kLayers) OneLayer(bench, layer);
}

}  // namespace tamis::bench
