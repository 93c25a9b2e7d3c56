// SPDX-License-Identifier: Apache-2.0
// A decode layer's ops in the step's order, whole and without one of them: the difference is what
// an op costs where it stands, which is not what it costs alone. Llama-3-8B's shapes.
// Bytes: weights of the products, and keys and values of the contexts.
#include <array>
#include <numeric>

#include "kernels/bench/harness.h"
#include "kernels/ops.h"

namespace tamis::bench {
namespace {

constexpr int64_t kHidden = 4096, kFfn = 14336, kQHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int64_t kQkvRows = (kQHeads + 2 * kKvHeads) * kHeadDim, kBlockTokens = 16;
constexpr int kLayers = 16;

enum Op { kQkv, kAttention, kO, kNorm1, kGateUp, kDown, kNorm2, kOps };
constexpr std::array<const char*, kOps> kNames = {"qkv",     "attention", "o",     "norm 1",
                                                  "gate_up", "down",      "norm 2"};
constexpr std::array<double, kOps> kWeightBytes = {
    2.0 * kQkvRows * kHidden, 0, 2.0 * kHidden* kQHeads* kHeadDim, 0, 4.0 * kFfn* kHidden,
    2.0 * kHidden* kFfn,      0};
constexpr unsigned kRopeApart = 1u << kOps;  // the product and RopeAndStoreKv as two ops
constexpr double kTokenBytes = kKvHeads * 2 * kHeadDim * 2;

struct Layer {
  TensorView qkv, o, gate_up, down, norm;
  KvPages pages;
};

struct State {
  std::vector<Layer> layers;
  DecodeBatch batch;
  TensorView residual, normed, qkv, attn, partial, gate_up, ffn, positions, slots, inv_freq;
};

struct Case {
  int64_t batch;
  int32_t context;  // tokens of each sequence
};
constexpr Case kCases[] = {{1, 1024}, {1, 8192}, {32, 2048}};

Layer MakeLayer(Bench& bench, int64_t blocks) {
  const auto weight = [&](int64_t rows, int64_t columns) {
    return bench.Random({rows, columns}, DType::kBF16, 0.02f);
  };
  Layer layer;
  layer.qkv = weight(kQkvRows, kHidden);
  layer.o = weight(kHidden, kQHeads * kHeadDim);
  layer.gate_up = weight(2 * kFfn, kHidden);
  layer.down = weight(kHidden, kFfn);
  layer.norm = bench.Random({kHidden}, DType::kBF16);
  layer.pages = {bench.Random({blocks * kKvHeads, 2, kBlockTokens, kHeadDim}, DType::kBF16).data,
                 DType::kBF16,
                 DeviceKind::kCuda,
                 blocks,
                 kKvHeads,
                 kBlockTokens,
                 kHeadDim};
  return layer;
}

State MakeState(Bench& bench, const Case& c) {
  const int64_t blocks = c.context / kBlockTokens;  // of a sequence
  const auto row = [&](int64_t size) { return bench.Random({c.batch, size}, DType::kBF16); };
  State state;
  for (int i = 0; i < kLayers; ++i) state.layers.push_back(MakeLayer(bench, c.batch * blocks));
  std::vector<int32_t> table(static_cast<size_t>(c.batch * blocks));
  std::iota(table.begin(), table.end(), 0);
  const std::vector<int32_t> contexts(static_cast<size_t>(c.batch), c.context);
  const std::vector<int32_t> positions(static_cast<size_t>(c.batch), c.context - 1);
  std::vector<int32_t> slots;
  for (int64_t s = 1; s <= c.batch; ++s) slots.push_back(static_cast<int32_t>(s * c.context) - 1);
  state.batch = {bench.Ints({c.batch}, contexts), bench.Ints({c.batch, blocks}, table), c.context,
                 /*history_settled=*/true};
  state.residual = row(kHidden);
  state.normed = row(kHidden);
  state.qkv = row(kQkvRows);
  state.attn = row(kQHeads * kHeadDim);
  state.partial = row(kHidden);
  state.gate_up = row(2 * kFfn);
  state.ffn = row(kFfn);
  state.positions = bench.Ints({c.batch}, positions);
  state.slots = bench.Ints({c.batch}, slots);
  state.inv_freq = bench.Random({kHeadDim / 2}, DType::kF32);
  return state;
}

// Microseconds of a layer; bit i of `without` leaves op i out.
double LayerUs(Bench& bench, const State& x, unsigned without) {
  const TensorView q = Columns(x.qkv, 0, kQHeads * kHeadDim);
  const Stream& stream = bench.stream();
  Scratch& scratch = bench.scratch();
  const auto has = [&](Op op) { return (without >> op & 1) == 0; };
  return bench.MedianUs(kLayers, [&](int i) {
    const Layer& w = x.layers[static_cast<size_t>(i)];
    const auto norm = [&] {
      ops::AddRmsNorm(x.normed, x.residual, x.partial, w.norm, 1e-5f, stream);
    };
    if (has(kQkv) && (without & kRopeApart) == 0) {
      ops::MatMulRopeAndStoreKv(x.qkv, x.normed, w.qkv, w.pages, x.positions, x.slots, x.inv_freq,
                                kQHeads, scratch, stream);
    } else if (has(kQkv)) {
      ops::MatMul(x.qkv, x.normed, w.qkv, scratch, stream);
      ops::RopeAndStoreKv(x.qkv, w.pages, x.positions, x.slots, x.inv_freq, kQHeads, stream);
    }
    if (has(kAttention)) {
      ops::DecodeAttention(x.attn, q, w.pages, x.batch, 0.088f, scratch, stream);
    }
    if (has(kO)) ops::MatMul(x.partial, x.attn, w.o, scratch, stream);
    if (has(kNorm1)) norm();
    if (has(kGateUp)) {
      ops::MatMulSiluMul(x.ffn, x.gate_up, x.normed, w.gate_up, scratch, stream);
    }
    if (has(kDown)) ops::MatMul(x.partial, x.ffn, w.down, scratch, stream);
    if (has(kNorm2)) norm();
  });
}

}  // namespace

void BenchDecodeLayer(Bench& bench) {
  bench.Heading("A decode layer, whole and without one op");
  for (const Case& c : kCases) {
    const State state = MakeState(bench, c);
    const std::string name =
        "layer at " + std::to_string(c.context) + " b" + std::to_string(c.batch);
    const auto row = [&](const std::string& what, unsigned without) {
      const double tokens = static_cast<double>(c.batch * c.context);
      double bytes = (without >> kAttention & 1) == 0 ? tokens * kTokenBytes : 0;
      for (size_t op = 0; op < kOps; ++op) {
        if ((without >> op & 1) == 0) bytes += kWeightBytes[op];
      }
      bench.Bytes(name + what, LayerUs(bench, state, without), bytes);
    };
    row("", 0);
    row(", rope apart", kRopeApart);
    for (size_t op = 0; op < kOps; ++op) row(std::string(" without ") + kNames[op], 1u << op);
    constexpr unsigned kSmall = 1u << kNorm1 | 1u << kNorm2;
    row(", products and attention", kSmall);
    row(", products only", kSmall | 1u << kAttention);
    bench.Release();
  }
}

}  // namespace tamis::bench
