// SPDX-License-Identifier: Apache-2.0
// Time to first token of one prompt at Llama-3-8B's shapes, bf16: every op of all 32 layers, chunk
// by chunk, weights and pages of their own for each layer, then one row of logits and its greedy
// token. What the engine does besides is not in it.
//
//   prefill_bench CONTEXT CHUNK...       e.g. prefill_bench 131072 8192
//
// A negative CHUNK leaves the products at cuBLASLt's first guess; products once tuned stay so.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/bench/event_timer.h"
#include "kernels/bench/harness.h"
#include "kernels/ops.h"
#include "kernels/tune_matmul.h"

namespace tamis::bench {
namespace {

constexpr int64_t kLayers = 32, kHidden = 4096, kFfn = 14336, kVocab = 128256;
constexpr int64_t kQHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlockTokens = 16;
constexpr int64_t kQkvWidth = (kQHeads + 2 * kKvHeads) * kHeadDim;
constexpr float kEps = 1e-5f, kDeviation = 0.02f;

struct Layer {
  TensorView qkv, o, gate_up, down, attention_norm, ffn_norm;
  KvPages pages;
};

struct Prompt {
  int64_t context, chunk;
  TensorView token_ids, positions, token_slots, block_table;  // of the whole prompt
  std::vector<TensorView> query_starts, context_lens;         // of each chunk
};

struct Rows {
  TensorView residual, normed, qkv, attended, gate_up, gated;
};

struct Model {
  std::vector<Layer> layers;
  TensorView embedding, head, norm, inv_freq, logits, last_row;
};

enum Part { kProducts, kAttention, kRest, kParts };
constexpr const char* kPartNames[kParts] = {"products", "attention", "everything else"};

Model MakeModel(Bench& bench, int64_t context) {
  Model model;
  const int64_t blocks = context / kBlockTokens;
  const auto weight = [&](int64_t rows, int64_t columns) {
    return bench.Random({rows, columns}, DType::kBF16, kDeviation);
  };
  for (int64_t i = 0; i < kLayers; ++i) {
    Layer& layer = model.layers.emplace_back();
    layer.qkv = weight(kQkvWidth, kHidden);
    layer.o = weight(kHidden, kQHeads * kHeadDim);
    layer.gate_up = weight(2 * kFfn, kHidden);
    layer.down = weight(kHidden, kFfn);
    layer.attention_norm = bench.Random({kHidden}, DType::kBF16);
    layer.ffn_norm = bench.Random({kHidden}, DType::kBF16);
    const TensorView pages =
        bench.Random({blocks * kKvHeads, 2, kBlockTokens, kHeadDim}, DType::kBF16);
    layer.pages = {pages.data, DType::kBF16, DeviceKind::kCuda, blocks,
                   kKvHeads,   kBlockTokens, kHeadDim};
  }
  model.embedding = weight(kVocab, kHidden);
  model.head = weight(kVocab, kHidden);
  model.norm = bench.Random({kHidden}, DType::kBF16);
  model.inv_freq = bench.Random({kHeadDim / 2}, DType::kF32, 0.01f);
  model.logits = bench.Random({1, kVocab}, DType::kF32);
  model.last_row = bench.Random({1, kHidden}, DType::kBF16);
  return model;
}

Prompt MakePrompt(Bench& bench, int64_t context, int64_t chunk) {
  std::mt19937 random(7);
  std::vector<int32_t> table(static_cast<size_t>(context / kBlockTokens));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), random);
  std::vector<int32_t> ids, positions, slots;
  for (int64_t i = 0; i < context; ++i) {
    ids.push_back(static_cast<int32_t>(random() % kVocab));
    positions.push_back(static_cast<int32_t>(i));
    slots.push_back(static_cast<int32_t>(
        table[static_cast<size_t>(i / kBlockTokens)] * kBlockTokens + i % kBlockTokens));
  }
  Prompt prompt;
  prompt.context = context;
  prompt.chunk = chunk;
  prompt.token_ids = bench.Ints({context}, ids);
  prompt.positions = bench.Ints({context}, positions);
  prompt.token_slots = bench.Ints({context}, slots);
  prompt.block_table = bench.Ints({1, static_cast<int64_t>(table.size())}, table);
  for (int64_t begin = 0; begin < context; begin += chunk) {
    const int64_t rows = std::min(chunk, context - begin);
    prompt.query_starts.push_back(bench.Ints({2}, {0, static_cast<int32_t>(rows)}));
    prompt.context_lens.push_back(bench.Ints({1}, {static_cast<int32_t>(begin + rows)}));
  }
  return prompt;
}

Rows MakeRows(Bench& bench, int64_t chunk) {
  const auto rows = [&](int64_t width) { return bench.Random({chunk, width}, DType::kBF16); };
  return {rows(kHidden), rows(kHidden), rows(kQkvWidth), rows(kHidden), rows(2 * kFfn), rows(kFfn)};
}

void Tune(Bench& bench, const Model& model, const Rows& x) {
  struct Product {
    TensorView out, a;
    TensorView Layer::*weight;
  };
  const Product products[] = {{x.qkv, x.normed, &Layer::qkv},
                              {x.normed, x.attended, &Layer::o},
                              {x.gate_up, x.normed, &Layer::gate_up},
                              {x.attended, x.gated, &Layer::down}};
  for (const Product& product : products) {
    const std::vector<ConstTensorView> weights = {model.layers[0].*product.weight,
                                                  model.layers[1].*product.weight,
                                                  model.layers[2].*product.weight};
    TuneMatMul(product.out, product.a, weights, bench.scratch(), bench.stream());
  }
}

// One layer over one chunk. `x` holds what is to be added to the residual before it, and after it.
void RunLayer(Bench& bench, const Model& model, const Layer& layer, const Rows& x,
              const Prompt& prompt, int64_t begin, EventTimer& timer) {
  const Stream& stream = bench.stream();
  Scratch& scratch = bench.scratch();
  const int64_t rows = x.residual.shape[0];
  const auto step = static_cast<size_t>(begin / prompt.chunk);
  const PrefillBatch batch = {prompt.query_starts[step], prompt.context_lens[step],
                              prompt.block_table, rows, begin + rows};
  ops::AddRmsNorm(x.normed, x.residual, x.attended, layer.attention_norm, kEps, stream);
  timer.Mark(kRest);
  ops::MatMul(x.qkv, x.normed, layer.qkv, scratch, stream);
  timer.Mark(kProducts);
  ops::RopeAndStoreKv(x.qkv, layer.pages, tamis::Rows(prompt.positions, begin, rows),
                      tamis::Rows(prompt.token_slots, begin, rows), model.inv_freq, kQHeads,
                      stream);
  timer.Mark(kRest);
  ops::PrefillAttention(x.attended, Columns(x.qkv, 0, kQHeads * kHeadDim), layer.pages, batch,
                        1.0f / std::sqrt(static_cast<float>(kHeadDim)), scratch, stream);
  timer.Mark(kAttention);
  ops::MatMul(x.normed, x.attended, layer.o, scratch, stream);
  timer.Mark(kProducts);
  ops::AddRmsNorm(x.normed, x.residual, x.normed, layer.ffn_norm, kEps, stream);
  timer.Mark(kRest);
  ops::MatMul(x.gate_up, x.normed, layer.gate_up, scratch, stream);
  timer.Mark(kProducts);
  ops::SiluMul(x.gated, x.gate_up, stream);
  timer.Mark(kRest);
  ops::MatMul(x.attended, x.gated, layer.down, scratch, stream);
  timer.Mark(kProducts);
}

void RunPrompt(Bench& bench, const Model& model, const Rows& buffers, const Prompt& prompt,
               EventTimer& timer) {
  timer.Start();
  for (int64_t begin = 0; begin < prompt.context; begin += prompt.chunk) {
    const int64_t rows = std::min(prompt.chunk, prompt.context - begin);
    const auto cut = [&](const TensorView& all) { return tamis::Rows(all, 0, rows); };
    const Rows x = {cut(buffers.residual), cut(buffers.normed),  cut(buffers.qkv),
                    cut(buffers.attended), cut(buffers.gate_up), cut(buffers.gated)};
    ops::Embedding(x.residual, model.embedding, tamis::Rows(prompt.token_ids, begin, rows), 0,
                   bench.stream());
    ops::Embedding(x.attended, model.embedding, tamis::Rows(prompt.token_ids, begin, rows), kVocab,
                   bench.stream());  // zeros: nothing to add yet
    timer.Mark(kRest);
    for (const Layer& layer : model.layers) {
      RunLayer(bench, model, layer, x, prompt, begin, timer);
    }
    if (begin + rows < prompt.context) continue;
    const auto last = [&](const TensorView& all) { return tamis::Rows(all, rows - 1, 1); };
    ops::AddRmsNorm(model.last_row, last(x.residual), last(x.attended), model.norm, kEps,
                    bench.stream());
    ops::MatMul(model.logits, model.last_row, model.head, bench.scratch(), bench.stream());
    timer.Mark(kRest);
  }
}

void Report(const Prompt& prompt, bool tuned, const EventTimer& timer) {
  const auto n = static_cast<double>(prompt.context);
  const double weights =
      static_cast<double>(kLayers * kHidden * (kQkvWidth + kQHeads * kHeadDim + 3 * kFfn));
  const double flops[kParts] = {
      2 * n * weights, static_cast<double>(kLayers * 4 * kQHeads * kHeadDim) * n * (n + 1) / 2, 0};
  std::printf(
      "prompt of %lld tokens, chunks of %lld, products %s: %.3f s to the first "
      "token\n",
      static_cast<long long>(prompt.context), static_cast<long long>(prompt.chunk),
      tuned ? "tuned" : "as guessed", timer.TotalSeconds());
  for (int part = 0; part < kParts; ++part) {
    const double seconds = timer.Seconds(part);
    std::printf("  %-16s %8.3f s", kPartNames[part], seconds);
    if (flops[part] > 0) std::printf("  %6.1f TFLOP/s", flops[part] / seconds / 1e12);
    std::printf("\n");
  }
  std::fflush(stdout);
}

int Run(int argc, char** argv) {
  if (argc < 3 || CudaDeviceCount() == 0) {
    std::fprintf(stderr, "usage: prefill_bench CONTEXT CHUNK...; needs a GPU\n");
    return 2;
  }
  SetCudaDevice(0);
  Bench bench;
  const int64_t context = std::atoll(argv[1]);
  if (context < kBlockTokens || context % kBlockTokens != 0) {
    std::fprintf(stderr, "prefill_bench: CONTEXT must be a positive multiple of %lld\n",
                 static_cast<long long>(kBlockTokens));
    return 2;
  }
  const Model model = MakeModel(bench, context);
  for (int i = 2; i < argc; ++i) {
    const int64_t wanted = std::atoll(argv[i]);
    const int64_t chunk = std::clamp<int64_t>(std::abs(wanted), 1, context);
    const Rows buffers = MakeRows(bench, chunk);
    const Prompt prompt = MakePrompt(bench, context, chunk);
    if (wanted > 0) {
      const auto begin = std::chrono::steady_clock::now();
      Tune(bench, model, buffers);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      std::printf("tuning products up to %lld rows: %.2f s\n", static_cast<long long>(chunk),
                  took.count());
    }
    Prompt warm_up = prompt;  // the first chunk alone: modules load, products choose algorithms
    warm_up.context = chunk;
    for (Prompt run : {warm_up, prompt}) {
      EventTimer timer(bench.stream(), kParts);
      RunPrompt(bench, model, buffers, run, timer);
      timer.Finish();
      if (run.context == prompt.context) Report(run, wanted > 0, timer);
    }
  }
  return 0;
}

}  // namespace
}  // namespace tamis::bench

int main(int argc, char** argv) { return tamis::bench::Run(argc, argv); }
