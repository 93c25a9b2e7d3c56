// SPDX-License-Identifier: Apache-2.0
// Products of many rows at Llama-3-8B's shapes: as cuBLASLt guesses and as TuneMatMul leaves them.
#include <vector>

#include "kernels/bench/harness.h"
#include "kernels/ops.h"
#include "kernels/tune_matmul.h"

namespace tamis::bench {
namespace {

constexpr int64_t kRowsMax = 8192;
constexpr int kCopies = 3;

void OneWeight(Bench& bench, const char* name, int64_t columns, int64_t inner) {
  std::vector<ConstTensorView> weights;
  for (int i = 0; i < kCopies; ++i) {
    weights.push_back(bench.Random({columns, inner}, DType::kBF16, 0.02f));
  }
  const TensorView a = bench.Random({kRowsMax, inner}, DType::kBF16);
  const TensorView out = bench.Random({kRowsMax, columns}, DType::kBF16);
  for (const char* how : {"guessed", "tuned"}) {
    // Both on a warm card: under its power limit it is up to 15 % slower than when it was idle.
    bench.MedianUs(10, [&](int i) {
      ops::MatMul(out, a, weights[static_cast<size_t>(i % kCopies)], bench.scratch(),
                  bench.stream());
    });
    for (const int64_t rows : {64, 128, 512, 1024, 2048, 4096, 8192}) {
      const double us = bench.MedianUs(kCopies, [&](int i) {
        ops::MatMul(Rows(out, 0, rows), Rows(a, 0, rows), weights[static_cast<size_t>(i)],
                    bench.scratch(), bench.stream());
      });
      bench.Flops(std::string(name) + " M=" + std::to_string(rows) + ' ' + how, us,
                  2.0 * static_cast<double>(rows * columns * inner));
    }
    TuneMatMul(out, a, weights, bench.scratch(), bench.stream());
  }
  bench.Release();
}

}  // namespace

void BenchTunedMatMul(Bench& bench) {
  bench.Heading("Products of many rows, bf16, weights rotating");
  OneWeight(bench, "qkv", 6144, 4096);
  OneWeight(bench, "o", 4096, 4096);
  OneWeight(bench, "gate_up", 28672, 4096);
  OneWeight(bench, "down", 4096, 14336);
}

}  // namespace tamis::bench
