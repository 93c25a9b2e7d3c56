// SPDX-License-Identifier: Apache-2.0
// Every op of ops.h on the GPU against the CPU, the specification: random data, odd sizes, all
// storage types, outputs poisoned.
#include <numeric>

#include "kernels/ops.h"
#include "tests/kernels/backends_agree.h"
#include "tests/kernels/paged_twins.h"
#include "tests/kernels/twins.h"

namespace tamis {
namespace {

// ---- tokens ------------------------------------------------------------------------------------

TEST_F(BackendsAgree, ResolveTokensAndStoreSlotTokens) {
  for (const int64_t tokens : {1, 3, 700}) {
    Twins twins(1);
    const Twin ids = twins.Ints({tokens}, twins.Draw(tokens, 0, 999));
    const Twin from = twins.Ints({tokens}, twins.Draw(tokens, -1, 6));
    const Twin slot_tokens = twins.Ints({7}, twins.Draw(7, 1000, 1999));
    const Twin out = twins.Poisoned({tokens}, DType::kI32);
    // Slots are distinct; some sequences have none.
    const Twin slots = twins.Ints({4}, {5, -1, 0, 3});
    const Twin sampled = twins.Ints({4}, twins.Draw(4, 2000, 2999));
    twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
      ops::ResolveTokens(out.On(d), ids.On(d), from.On(d), slot_tokens.On(d), stream);
      ops::StoreSlotTokens(slot_tokens.On(d), slots.On(d), sampled.On(d), stream);
    });
    twins.ExpectSame(out, "out");
    twins.ExpectSame(slot_tokens, "slot_tokens");
  }
}

TEST_F(BackendsAgree, EmbeddingAndGatherRows) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t hidden : {1, 37, 576, 4096}) {
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " hidden " << hidden);
      Twins twins(2);
      const Twin table = twins.Normal({19, hidden}, dtype);
      const Twin ids = twins.Ints({9}, {0, 100, 118, 119, 99, 105, 105, 1 << 30, 101});
      const Twin embedded = twins.Poisoned({9, hidden}, dtype);
      const Twin rows = twins.Ints({5}, {18, -1, 0, 3, 3});
      const Twin gathered = twins.Poisoned({5, hidden}, dtype);
      twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
        ops::Embedding(embedded.On(d), table.On(d), ids.On(d), 100, stream);
        ops::GatherRows(gathered.On(d), table.On(d), rows.On(d), stream);
      });
      twins.ExpectSame(embedded, "embedded");
      twins.ExpectSame(gathered, "gathered");
    }
  }
}

// ---- elementwise -------------------------------------------------------------------------------

TEST_F(BackendsAgree, RmsNormAndAddRmsNorm) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t hidden : {1, 37, 576, 4096, 5001, 16384}) {
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " hidden " << hidden);
      Twins twins(3);
      const Twin x = twins.Normal({5, hidden}, dtype);
      const Twin weight = twins.Normal({hidden}, dtype);
      const Twin normed = twins.Poisoned({5, hidden}, dtype);
      const Twin residual = twins.Normal({5, hidden}, dtype);
      twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
        ops::RmsNorm(normed.On(d), x.On(d), weight.On(d), 1e-5f, stream);
        ops::AddRmsNorm(x.On(d), residual.On(d), x.On(d), weight.On(d), 1e-5f, stream);  // aliased
      });
      twins.ExpectRounded(normed, "normed");
      twins.ExpectSame(residual, "residual");
      twins.ExpectRounded(x, "added and normed");
    }
  }
}

TEST_F(BackendsAgree, SiluMul) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t width : {1, 37, 1536, 14336}) {
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " width " << width);
      Twins twins(4);
      const Twin gate_up = twins.Normal({3, 2 * width}, dtype, 3.0f);
      const Twin out = twins.Poisoned({3, width}, dtype);
      twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
        ops::SiluMul(out.On(d), gate_up.On(d), stream);
      });
      twins.ExpectRounded(out, "out");
    }
  }
}

TEST_F(BackendsAgree, FillRandom) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t begin : {0, 1, 6, 4096}) {
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " column " << begin);
      Twins twins(4);
      const Twin out = twins.Poisoned({5, 1001}, dtype);
      twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
        ops::FillRandom(out.On(d), 0x123456789abcdefu, int64_t{1} << 33, begin, 1.0f, 0.3f, stream);
      });
      twins.ExpectSame(out, "out");
    }
  }
}

// ---- products ----------------------------------------------------------------------------------

struct Product {
  int64_t rows, columns, inner;
  int64_t stride_extra;  // of a and of out
};

void ExpectProductsAgree(const std::vector<Product>& products) {
  for (const DType dtype : kFloatTypes) {
    for (const Product& p : products) {
      for (const DType out_type : {dtype, DType::kF32}) {
        SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " to " << DTypeName(out_type) << ' '
                                        << p.rows << " x " << p.columns << " x " << p.inner);
        Twins twins(5);
        const Twin wide = twins.Normal({p.rows, p.inner + p.stride_extra}, dtype);
        const Twin weight = twins.Normal({p.columns, p.inner}, dtype, 0.1f);
        const Twin out = twins.Poisoned({p.rows, p.columns + p.stride_extra}, out_type);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          ops::MatMul(Columns(out.On(d), 0, p.columns), Columns(wide.On(d), 0, p.inner),
                      weight.On(d), scratch, stream);
        });
        twins.ExpectRounded(out, "out");
      }
    }
  }
}

TEST_F(BackendsAgree, MatMul) {
  ExpectProductsAgree({{1, 64, 64, 0},
                       {1, 1, 8, 0},
                       {3, 37, 72, 0},
                       {8, 576, 1536, 0},
                       {2, 1001, 4096, 8},
                       {9, 520, 264, 0},
                       {16, 96, 4104, 0},
                       {5, 33, 37, 3},
                       {130, 65, 192, 0},
                       {7, 6100, 64, 0},
                       {65, 64, 64, 8},
                       {1, 4096, 4096, 0}});
}

// On Hopper a kernel of its own: by 32 and 64 rows, with and without a division of K.
TEST_F(BackendsAgree, MatMulOfFewRows) {
  ExpectProductsAgree({{17, 576, 576, 0},
                       {17, 1, 8, 0},
                       {19, 37, 72, 8},
                       {24, 1001, 4096, 8},
                       {31, 520, 264, 3},
                       {32, 96, 4104, 0},
                       {32, 4240, 576, 0},
                       {32, 35001, 72, 8},
                       {33, 64, 64, 0},
                       {33, 129, 1000, 16},
                       {48, 1280, 1544, 0},
                       {63, 35001, 136, 0},
                       {64, 128, 14336, 8},
                       {64, 1024, 72, 0}});
}

TEST_F(BackendsAgree, MatMulSiluMul) {
  struct Case {
    int64_t rows, width, inner;
  };
  constexpr Case kCases[] = {{1, 64, 64},   {3, 37, 72},      {8, 1536, 576},
                             {9, 520, 264}, {16, 4, 4104},    {17, 96, 576},
                             {5, 33, 37},   {1, 14336, 4096}, {33, 520, 264}};
  for (const DType dtype : kFloatTypes) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message()
                   << DTypeName(dtype) << ' ' << c.rows << " x " << c.width << " x " << c.inner);
      Twins twins(5);
      const Twin a = twins.Normal({c.rows, c.inner}, dtype);
      const Twin weight = twins.Normal({2 * c.width, c.inner}, dtype, 0.1f);
      const Twin gate_up = twins.Poisoned({c.rows, 2 * c.width}, dtype);
      const Twin out = twins.Poisoned({c.rows, c.width}, dtype);
      twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        ops::MatMulSiluMul(out.On(d), gate_up.On(d), a.On(d), weight.On(d), scratch, stream);
      });
      twins.ExpectRounded(out, "out");
    }
  }
}

// ---- attention ---------------------------------------------------------------------------------

TEST_F(BackendsAgree, RopeAndStoreKv) {
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << ' ' << heads);
      Twins twins(6);
      PagedTwins paged(twins, heads, dtype, {40, 7}, 50);
      const int64_t tokens = 6;
      const Twin qkv = twins.Normal({tokens, (heads.q + 2 * heads.kv) * heads.dim}, dtype);
      const Twin positions = twins.Ints({tokens}, {0, 1, 39, 4097, 131071, 6});
      const Twin token_slots =
          twins.Ints({tokens}, {paged.Slot(0, 0), paged.Slot(0, 1), paged.Slot(0, 39), -1,
                                paged.Slot(1, 3), paged.Slot(1, 6)});
      const Twin inv_freq = twins.Floats({heads.dim / 2}, DType::kF32, [&](int64_t i) {
        return std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(heads.dim));
      });
      twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
        ops::RopeAndStoreKv(qkv.On(d), paged.Pages(d), positions.On(d), token_slots.On(d),
                            inv_freq.On(d), heads.q, stream);
      });
      twins.ExpectRounded(qkv, "qkv");
      twins.ExpectRounded(paged.pages(), "pages");
    }
  }
}

// Against the CPU, and on the GPU against the two ops, bit for bit. Some rows are padding.
void ExpectMatMulRopeAndStoreKv(Twins& twins, const HeadShape& heads, DType dtype, int64_t tokens,
                                int64_t inner) {
  const int64_t heads_all = heads.q + 2 * heads.kv;
  const PagedTwins paged(twins, heads, dtype, {40}, 50);
  const PagedTwins paged_apart(twins, heads, dtype, {40}, 50);
  std::vector<int32_t> slots, q_rows;
  for (int64_t t = 0; t < tokens; ++t) {
    slots.push_back(t % 5 == 4 ? -1 : paged.Slot(0, (t * 7 + 3) % 40));
    for (int64_t h = 0; h < heads.q; ++h) q_rows.push_back(static_cast<int32_t>(t * heads_all + h));
  }
  const Twin a = twins.Normal({tokens, inner}, dtype);
  const Twin weight = twins.Normal({heads_all * heads.dim, inner}, dtype, 0.1f);
  const Twin token_slots = twins.Ints({tokens}, slots);
  const Twin positions = twins.Ints({tokens}, twins.Draw(tokens, 0, 131071));
  const Twin inv_freq = twins.Floats({heads.dim / 2}, DType::kF32, [&](int64_t i) {
    return std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(heads.dim));
  });
  const Twin rows = twins.Ints({tokens * heads.q}, q_rows);
  const Twin qkv = twins.Poisoned({tokens, heads_all * heads.dim}, dtype);
  const Twin q = twins.Poisoned({tokens * heads.q, heads.dim}, dtype);
  const Twin q_apart = twins.Poisoned({tokens * heads.q, heads.dim}, dtype);
  const Shape by_heads = {tokens * heads_all, heads.dim};
  twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
    ops::MatMulRopeAndStoreKv(qkv.On(d), a.On(d), weight.On(d), paged.Pages(d), positions.On(d),
                              token_slots.On(d), inv_freq.On(d), heads.q, scratch, stream);
    ops::GatherRows(q.On(d), Reshape(qkv.On(d), by_heads), rows.On(d), stream);
  });
  twins.ExpectRounded(q, "queries");
  twins.ExpectRounded(paged.pages(), "pages");
  twins.RunOnGpu([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
    ops::MatMul(qkv.On(d), a.On(d), weight.On(d), scratch, stream);
    ops::RopeAndStoreKv(qkv.On(d), paged_apart.Pages(d), positions.On(d), token_slots.On(d),
                        inv_freq.On(d), heads.q, stream);
    ops::GatherRows(q_apart.On(d), Reshape(qkv.On(d), by_heads), rows.On(d), stream);
  });
  EXPECT_EQ(twins.Download(q.cuda), twins.Download(q_apart.cuda));
  EXPECT_EQ(twins.Download(paged.pages().cuda), twins.Download(paged_apart.pages().cuda));
}

TEST_F(BackendsAgree, MatMulRopeAndStoreKv) {
  struct Case {
    int64_t tokens, inner;
  };
  constexpr Case kCases[] = {{1, 4104}, {5, 33}, {8, 264}, {9, 72}, {16, 576}, {17, 72}};
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      Twins twins(6);
      for (const Case& c : kCases) {
        SCOPED_TRACE(testing::Message() << DTypeName(dtype) << ' ' << heads << ", " << c.tokens
                                        << " rows of " << c.inner);
        ExpectMatMulRopeAndStoreKv(twins, heads, dtype, c.tokens, c.inner);
      }
    }
  }
}

TEST_F(BackendsAgree, DecodeAttention) {
  const std::vector<std::vector<int32_t>> lengths = {
      {1}, {16, 0, 17, 511, 512, 513}, {2047, 1, 0, 1100}, {5000}};
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      for (const auto& contexts : lengths) {
        SCOPED_TRACE(testing::Message()
                     << DTypeName(dtype) << ' ' << heads << " longest " << contexts[0]);
        Twins twins(7);
        PagedTwins paged(twins, heads, dtype, contexts, 6000);
        const auto sequences = static_cast<int64_t>(contexts.size());
        const Twin qkv = twins.Normal({sequences, (heads.q + 2 * heads.kv) * heads.dim}, dtype);
        const Twin out = twins.Poisoned({sequences, heads.q * heads.dim}, dtype);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          ops::DecodeAttention(out.On(d), Columns(qkv.On(d), 0, heads.q * heads.dim),
                               paged.Pages(d), paged.Decode(d), heads.Scale(), scratch, stream);
        });
        ExpectAttention(twins, out);
      }
    }
  }
}

// Warps that have no tile in row after row find the right one when they have.
TEST_F(BackendsAgree, DecodeAttentionOfManyShortRows) {
  const std::vector<int32_t> contexts = ManyShortRows();
  const auto sequences = static_cast<int64_t>(contexts.size());
  for (const HeadShape& heads : {HeadShape{32, 8, 128, 16}, HeadShape{64, 8, 64, 16}}) {
    SCOPED_TRACE(testing::Message() << heads);
    Twins twins(9);
    PagedTwins paged(twins, heads, DType::kBF16, contexts, 512);
    const Twin q = twins.Normal({sequences, heads.q * heads.dim}, DType::kBF16);
    const Twin out = twins.Poisoned({sequences, heads.q * heads.dim}, DType::kBF16);
    twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
      ops::DecodeAttention(out.On(d), q.On(d), paged.Pages(d), paged.Decode(d), heads.Scale(),
                           scratch, stream);
    });
    ExpectAttention(twins, out);
  }
}

// A row's bits do not depend on the rest of the batch, nor on the bound of the lengths.
TEST_F(BackendsAgree, DecodeAttentionOfARowAlone) {
  const HeadShape heads = {8, 2, 128, 16};
  Twins twins(8);
  PagedTwins paged(twins, heads, DType::kBF16, {700, 3000, 0, 1}, 8000);
  const Twin q = twins.Normal({4, heads.q * heads.dim}, DType::kBF16);
  const Twin out = twins.Poisoned({4, heads.q * heads.dim}, DType::kBF16);
  const Twin alone = twins.Poisoned({1, heads.q * heads.dim}, DType::kBF16);
  twins.RunOnGpu([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
    DecodeBatch batch = paged.Decode(d);
    ops::DecodeAttention(out.On(d), q.On(d), paged.Pages(d), batch, 0.1f, scratch, stream);
    batch.context_lens = Rows(batch.context_lens, 1, 1);
    batch.block_table = Rows(batch.block_table, 1, 1);
    batch.context_len_max = 3000;
    ops::DecodeAttention(alone.On(d), Rows(q.On(d), 1, 1), paged.Pages(d), batch, 0.1f, scratch,
                         stream);
  });
  EXPECT_EQ(twins.Download(Rows(out.cuda, 1, 1)), twins.Download(alone.cuda));
}

// Steps that read a settled history early still see what the step itself has just stored.
TEST_F(BackendsAgree, DecodeAttentionOfASettledHistory) {
  constexpr int64_t kSteps = 24;
  const std::vector<int32_t> contexts = {700, 3000, 16, 1, 513};
  const auto sequences = static_cast<int64_t>(contexts.size());
  const HeadShape heads = {8, 2, 128, 16};
  Twins twins(8);
  PagedTwins paged(twins, heads, DType::kBF16, contexts, 8000);
  std::vector<int32_t> positions, slots;
  for (size_t s = 0; s < contexts.size(); ++s) {
    positions.push_back(contexts[s] - 1);
    slots.push_back(paged.Slot(static_cast<int64_t>(s), contexts[s] - 1));
  }
  const Twin position = twins.Ints({sequences}, positions);
  const Twin slot = twins.Ints({sequences}, slots);
  const Twin inv_freq = twins.Floats({heads.dim / 2}, DType::kF32, [](int64_t) { return 0.0f; });
  const int64_t width = (heads.q + 2 * heads.kv) * heads.dim;
  std::vector<Twin> qkv, outs[2];
  for (int64_t i = 0; i < kSteps; ++i) {
    qkv.push_back(twins.Normal({sequences, width}, DType::kBF16));
    for (auto& out : outs) {
      out.push_back(twins.Poisoned({sequences, heads.q * heads.dim}, DType::kBF16));
    }
  }
  for (const bool settled : {false, true}) {
    twins.RunOnGpu([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
      DecodeBatch batch = paged.Decode(d);
      batch.history_settled = settled;
      for (size_t i = 0; i < kSteps; ++i) {
        const TensorView& x = qkv[i].On(d);
        ops::RopeAndStoreKv(x, paged.Pages(d), position.On(d), slot.On(d), inv_freq.On(d), heads.q,
                            stream);
        ops::DecodeAttention(outs[settled][i].On(d), Columns(x, 0, heads.q * heads.dim),
                             paged.Pages(d), batch, 0.1f, scratch, stream);
      }
    });
  }
  for (size_t i = 0; i < kSteps; ++i) {
    EXPECT_EQ(twins.Download(outs[0][i].cuda), twins.Download(outs[1][i].cuda)) << "step " << i;
  }
}

TEST_F(BackendsAgree, PrefillAttention) {
  struct Case {
    std::vector<int32_t> queries, contexts;
  };
  const Case cases[] = {
      {{1}, {1}}, {{5, 130, 1}, {5, 200, 300}}, {{129, 0, 64}, {129, 10, 300}}, {{150}, {900}}};
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& heads : kHeadShapes) {
      for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message()
                     << DTypeName(dtype) << ' ' << heads << " queries " << c.queries[0]);
        Twins twins(9);
        PagedTwins paged(twins, heads, dtype, c.contexts, 2000);
        std::vector<int32_t> starts(c.queries.size() + 1, 0);
        std::partial_sum(c.queries.begin(), c.queries.end(), starts.begin() + 1);
        const int64_t tokens = starts.back();
        const Twin query_starts = twins.Ints({static_cast<int64_t>(starts.size())}, starts);
        const Twin qkv = twins.Normal({tokens, (heads.q + 2 * heads.kv) * heads.dim}, dtype);
        const Twin out = twins.Poisoned({tokens, heads.q * heads.dim}, dtype);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          const DecodeBatch decode = paged.Decode(d);
          const PrefillBatch batch = {query_starts.On(d), decode.context_lens, decode.block_table,
                                      300, 2000};
          ops::PrefillAttention(out.On(d), Columns(qkv.On(d), 0, heads.q * heads.dim),
                                paged.Pages(d), batch, heads.Scale(), scratch, stream);
        });
        ExpectAttention(twins, out);
      }
    }
  }
}

// ---- sampling ----------------------------------------------------------------------------------

TEST_F(BackendsAgree, ConcatVocab) {
  Twins twins(13);
  const Twin gathered = twins.Normal({3, 2, 2000}, DType::kF32);
  const Twin offsets = twins.Ints({4}, {0, 2000, 3999, 5500});
  const Twin out = twins.Poisoned({2, 5500}, DType::kF32);
  twins.Run([&](DeviceKind d, Scratch&, const Stream& stream) {
    ops::ConcatVocab(out.On(d), gathered.On(d), offsets.On(d), stream);
  });
  twins.ExpectSame(out, "out");
}

TEST_F(BackendsAgree, Sample) {
  for (const int64_t vocab : {1, 50, 49152, 128256}) {
    for (const float spread : {0.01f, 1.0f, 4.0f}) {
      SCOPED_TRACE(testing::Message() << "vocabulary " << vocab << " spread " << spread);
      Twins twins(14);
      const int64_t sequences = 14;
      const int64_t num_top = std::min<int64_t>(vocab, 5);
      const auto of = [](std::vector<float> values) {
        return [values](int64_t i) { return values[static_cast<size_t>(i)]; };
      };
      const Twin logits = twins.Normal({sequences, vocab}, DType::kF32, spread);
      const Twin temperature =
          twins.Floats({sequences}, DType::kF32,
                       of({0, 1, 1, 1, 0.7f, 1, 1.5f, 0.3f, 1, 2, 1, 0, 1e-38f, 1e-45f}));
      const Twin top_k =
          twins.Ints({sequences}, {0, 0, 40, 0, 40, 1, 0, 100000, 7, 0, 3, 5, 0, 40});
      const Twin top_p =
          twins.Floats({sequences}, DType::kF32,
                       of({1, 1, 1, 0.9f, 0.95f, 1, 0.5f, 0.99f, 0, 1, 0.3f, 1, 1, 0.9f}));
      const Twin min_p = twins.Floats({sequences}, DType::kF32,
                                      of({0, 0, 0, 0, 0.05f, 0, 0.1f, 0, 0, 0.2f, 0, 0, 0, 0}));
      const Twin seed =
          twins.Longs({sequences}, {1, 2, 3, 4, 5, ~0ull, 7, 8, 9, 10, 11, 12, 13, 14});
      const Twin position = twins.Ints({sequences}, twins.Draw(sequences, 0, 131071));
      const Twin tokens = twins.Poisoned({sequences}, DType::kI32);
      const Twin logprobs = twins.Poisoned({sequences}, DType::kF32);
      const Twin top_tokens = twins.Poisoned({sequences, num_top}, DType::kI32);
      const Twin top_logprobs = twins.Poisoned({sequences, num_top}, DType::kF32);
      twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        ops::Sample(
            tokens.On(d), logprobs.On(d), top_tokens.On(d), top_logprobs.On(d), logits.On(d),
            {temperature.On(d), top_k.On(d), top_p.On(d), min_p.On(d), seed.On(d), position.On(d)},
            scratch, stream);
      });
      twins.ExpectSame(tokens, "tokens");
      twins.ExpectNear(logprobs, "logprobs", 1e-5, 1e-5);
      twins.ExpectSame(top_tokens, "top_tokens");
      twins.ExpectNear(top_logprobs, "top_logprobs", 1e-5, 1e-5);
    }
  }
}

}  // namespace
}  // namespace tamis
