// SPDX-License-Identifier: Apache-2.0
// Elementwise ops and sampling at Llama-3-8B's shapes: launch-bound in decoding, so the
// microseconds matter, and memory-bound in prefill. Bytes: see each op's file.
#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

constexpr int64_t kHidden = 4096, kFfn = 14336, kVocab = 128256;

void Elementwise(Bench& bench, int64_t tokens) {
  const std::string suffix = " T=" + std::to_string(tokens);
  const auto count = static_cast<double>(tokens);
  const TensorView x = bench.Random({tokens, kHidden}, DType::kBF16);
  const TensorView residual = bench.Random({tokens, kHidden}, DType::kBF16);
  const TensorView out = bench.Random({tokens, kHidden}, DType::kBF16);
  const TensorView weight = bench.Random({kHidden}, DType::kBF16);
  const TensorView gate_up = bench.Random({tokens, 2 * kFfn}, DType::kBF16);
  const TensorView hidden = bench.Random({tokens, kFfn}, DType::kBF16);
  const TensorView qkv = bench.Random({tokens, 48 * 128}, DType::kBF16);
  const TensorView pages = bench.Random({(tokens / 16 + 1) * 8, 2, 16, 128}, DType::kBF16);
  std::vector<int32_t> slots(static_cast<size_t>(tokens));
  for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int32_t>(i);
  const TensorView token_slots = bench.Ints({tokens}, slots);
  const TensorView inv_freq = bench.Random({64}, DType::kF32);
  const KvPages kv = {pages.data, DType::kBF16, DeviceKind::kCuda, tokens / 16 + 1, 8, 16, 128};
  constexpr int kCalls = 20;
  const Stream& stream = bench.stream();
  bench.Bytes("RmsNorm" + suffix,
              bench.MedianUs(kCalls, [&](int) { ops::RmsNorm(out, x, weight, 1e-5f, stream); }),
              4 * count * kHidden);
  bench.Bytes("AddRmsNorm" + suffix,
              bench.MedianUs(
                  kCalls, [&](int) { ops::AddRmsNorm(out, residual, x, weight, 1e-5f, stream); }),
              8 * count * kHidden);
  bench.Bytes("SiluMul" + suffix,
              bench.MedianUs(kCalls, [&](int) { ops::SiluMul(hidden, gate_up, stream); }),
              6 * count * kFfn);
  bench.Bytes("RopeAndStoreKv" + suffix,
              bench.MedianUs(kCalls,
                             [&](int) {
                               ops::RopeAndStoreKv(qkv, kv, token_slots, token_slots, inv_freq, 32,
                                                   stream);
                             }),
              count * 128 * 2 * (48 + 40 + 16));
  bench.Release();
}

void Sampling(Bench& bench, int64_t sequences, float temperature, int32_t top_k, float top_p) {
  const auto fill = [&](float value) {
    const TensorView view = bench.Random({sequences}, DType::kF32);
    const std::vector<float> values(static_cast<size_t>(sequences), value);
    CopyBytes(view.data, DeviceKind::kCuda, values.data(), DeviceKind::kCpu, view.bytes(),
              bench.stream());
    bench.stream().Synchronize();
    return view;
  };
  const TensorView logits = bench.Random({sequences, kVocab}, DType::kF32, 3.0f);
  const TensorView tokens = bench.Random({sequences}, DType::kI32);
  const ops::SampleParams params = {
      fill(temperature),
      bench.Ints({sequences}, std::vector<int32_t>(static_cast<size_t>(sequences), top_k)),
      fill(top_p),
      fill(0),
      bench.Random({sequences}, DType::kU64),
      bench.Random({sequences}, DType::kI32)};
  const TensorView logprobs = bench.Random({sequences}, DType::kF32);
  const TensorView top_tokens = bench.Random({sequences, 0}, DType::kI32);
  const TensorView top_logprobs = bench.Random({sequences, 0}, DType::kF32);
  const double us = bench.MedianUs(10, [&](int) {
    ops::Sample(tokens, logprobs, top_tokens, top_logprobs, logits, params, bench.scratch(),
                bench.stream());
  });
  bench.Bytes("Sample S=" + std::to_string(sequences) + " t=" + std::to_string(temperature) +
                  " k=" + std::to_string(top_k) + " p=" + std::to_string(top_p),
              us, 4.0 * static_cast<double>(sequences * kVocab));
  bench.Release();
}

}  // namespace

void BenchSmallOps(Bench& bench) {
  bench.Heading("Elementwise, sampling (at T=1 the time is what counts)");
  for (const int64_t tokens : {1, 8, 32, 8192}) Elementwise(bench, tokens);
  Sampling(bench, 1, 0, 0, 1);
  Sampling(bench, 1, 1, 0, 1);
  Sampling(bench, 1, 0.7f, 40, 0.95f);
  Sampling(bench, 32, 0, 0, 1);
  Sampling(bench, 32, 0.7f, 40, 0.95f);
}

}  // namespace tamis::bench
