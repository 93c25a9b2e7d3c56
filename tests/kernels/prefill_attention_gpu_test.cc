// SPDX-License-Identifier: Apache-2.0
// PrefillAttention on the GPU: tiles, pages and chunks of all sizes against the CPU, and the
// promise that a row's bits depend on its own query and context alone. (backends_agree_gpu_test.cc
// has the head shapes.)
#include <numeric>

#include "kernels/ops.h"
#include "tests/kernels/paged_twins.h"
#include "tests/kernels/twins.h"

namespace tamis {
namespace {

constexpr DType kHalfTypes[] = {DType::kF16, DType::kBF16};

class PrefillAttentionGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no CUDA device is visible";
    SetCudaDevice(0);
  }
};

std::vector<int32_t> StartsOf(const std::vector<int32_t>& queries) {
  std::vector<int32_t> starts(queries.size() + 1, 0);
  std::partial_sum(queries.begin(), queries.end(), starts.begin() + 1);
  return starts;
}

// Lengths about the sizes of tiles (128 rows, 128 tokens), and blocks from smaller than a tile's
// eighth to larger than a tile.
TEST_F(PrefillAttentionGpu, AgreesWithCpuAtEveryBlockSize) {
  const std::vector<int32_t> queries = {127, 0, 129, 1, 200, 65};
  const std::vector<int32_t> contexts = {127, 9, 385, 256, 200, 1030};
  for (const DType dtype : kHalfTypes) {
    for (const int64_t dim : {64, 128}) {
      for (const int64_t block_tokens : {4, 8, 16, 32, 64, 128, 256, 48}) {
        const HeadShape heads = {3, 1, dim, block_tokens};
        SCOPED_TRACE(testing::Message() << DTypeName(dtype) << ' ' << heads);
        Twins twins(21);
        PagedTwins paged(twins, heads, dtype, contexts, 1100);
        const std::vector<int32_t> starts = StartsOf(queries);
        const Twin query_starts = twins.Ints({static_cast<int64_t>(starts.size())}, starts);
        const Twin qkv = twins.Normal({starts.back(), (heads.q + 2) * dim}, dtype, 2.0f);
        const Twin out = twins.Poisoned({starts.back(), heads.q * dim}, dtype);
        twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
          const DecodeBatch decode = paged.Decode(d);
          ops::PrefillAttention(
              out.On(d), Columns(qkv.On(d), 0, heads.q * dim), paged.Pages(d),
              {query_starts.On(d), decode.context_lens, decode.block_table, 200, 1100},
              heads.Scale(), scratch, stream);
        });
        // Weights are rounded to the storage type before they meet the values.
        if (dtype == DType::kF16) twins.ExpectNear(out, "out", 8e-4, 1.0 / 512);
        if (dtype == DType::kBF16) twins.ExpectNear(out, "out", 6e-3, 1.0 / 64);
      }
    }
  }
}

// More sequences than a warp has lanes, so that finding a block's rows takes several rounds.
TEST_F(PrefillAttentionGpu, ManySequences) {
  const HeadShape heads = {4, 2, 128, 16};
  std::vector<int32_t> queries, contexts;
  for (int32_t s = 0; s < 70; ++s) {
    queries.push_back(s % 7 == 3 ? 0 : s % 5 == 0 ? 130 : 1 + s % 9);
    contexts.push_back(queries.back() + s % 4 * 50);
  }
  Twins twins(22);
  PagedTwins paged(twins, heads, DType::kBF16, contexts, 300);
  const std::vector<int32_t> starts = StartsOf(queries);
  const Twin query_starts = twins.Ints({static_cast<int64_t>(starts.size())}, starts);
  const Twin q = twins.Normal({starts.back(), heads.q * heads.dim}, DType::kBF16);
  const Twin out = twins.Poisoned({starts.back(), heads.q * heads.dim}, DType::kBF16);
  twins.Run([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
    const DecodeBatch decode = paged.Decode(d);
    ops::PrefillAttention(out.On(d), q.On(d), paged.Pages(d),
                          {query_starts.On(d), decode.context_lens, decode.block_table, 130, 300},
                          heads.Scale(), scratch, stream);
  });
  twins.ExpectNear(out, "out", 6e-3, 1.0 / 64);
}

// The same sequence prefilled at once beside others, and alone in chunks of odd sizes.
TEST_F(PrefillAttentionGpu, BitsDoNotDependOnBatchOrChunks) {
  for (const DType dtype : kHalfTypes) {
    for (const int64_t dim : {64, 80, 128}) {
      const HeadShape heads = {8, 2, dim, 16};
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << ' ' << heads);
      const int32_t tokens = 1000;
      Twins twins(23);
      PagedTwins paged(twins, heads, dtype, {70, tokens, 333}, 1000);
      const Twin starts = twins.Ints({4}, {0, 70, 70 + tokens, 70 + tokens + 20});
      const Twin q = twins.Normal({70 + tokens + 20, heads.q * dim}, dtype, 3.0f);
      const Twin out = twins.Poisoned({70 + tokens + 20, heads.q * dim}, dtype);
      const Twin chunked = twins.Poisoned({tokens, heads.q * dim}, dtype);
      const std::vector<int32_t> chunks = {1, 128, 77, 300, 494};
      std::vector<Twin> chunk_starts, chunk_contexts;
      int32_t done = 0;
      for (const int32_t chunk : chunks) {
        chunk_starts.push_back(twins.Ints({2}, {0, chunk}));
        chunk_contexts.push_back(twins.Ints({1}, {done += chunk}));
      }
      ASSERT_EQ(done, tokens);
      twins.RunOnGpu([&](DeviceKind d, Scratch& scratch, const Stream& stream) {
        const DecodeBatch all = paged.Decode(d);
        ops::PrefillAttention(out.On(d), q.On(d), paged.Pages(d),
                              {starts.On(d), all.context_lens, all.block_table, tokens, tokens},
                              heads.Scale(), scratch, stream);
        int64_t begin = 0;
        for (size_t i = 0; i < chunks.size(); ++i) {
          ops::PrefillAttention(Rows(chunked.On(d), begin, chunks[i]),
                                Rows(q.On(d), 70 + begin, chunks[i]), paged.Pages(d),
                                {chunk_starts[i].On(d), chunk_contexts[i].On(d),
                                 Rows(all.block_table, 1, 1), chunks[i], tokens},
                                heads.Scale(), scratch, stream);
          begin += chunks[i];
        }
      });
      EXPECT_EQ(twins.Download(Rows(out.cuda, 70, tokens)), twins.Download(chunked.cuda));
    }
  }
}

}  // namespace
}  // namespace tamis
