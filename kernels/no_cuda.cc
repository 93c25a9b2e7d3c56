// SPDX-License-Identifier: Apache-2.0
// Stand-ins for the CUDA ops in a binary built without CUDA. Unreachable unless a caller makes up
// a CUDA stream; then they say which op it was.
#include "kernels/backends.h"
#include "kernels/check.h"
#include "kernels/filter_scores.h"
#include "kernels/scratch_bytes.h"
#include "kernels/tune_matmul.h"

namespace tamis::cuda {
namespace {

[[noreturn]] void NoCuda(const char* op) { Die(std::string(op) + ": built without CUDA"); }

using View = ConstTensorView;

}  // namespace

void ResolveTokens(TensorView, View, View, View, const Stream&) { NoCuda("ResolveTokens"); }
void StoreSlotTokens(TensorView, View, View, const Stream&) { NoCuda("StoreSlotTokens"); }
void Embedding(TensorView, View, View, int64_t, const Stream&) { NoCuda("Embedding"); }
void GatherRows(TensorView, View, View, const Stream&) { NoCuda("GatherRows"); }
void RmsNorm(TensorView, View, View, float, const Stream&) { NoCuda("RmsNorm"); }
void AddRmsNorm(TensorView, TensorView, View, View, float, const Stream&) { NoCuda("AddRmsNorm"); }
void SiluMul(TensorView, View, const Stream&) { NoCuda("SiluMul"); }
void FillRandom(TensorView, uint64_t, int64_t, int64_t, float, float, const Stream&) {
  NoCuda("FillRandom");
}
void MatMul(TensorView, View, View, Scratch&, const Stream&) { NoCuda("MatMul"); }
void MatMulSiluMul(TensorView, TensorView, View, View, Scratch&, const Stream&) {
  NoCuda("MatMulSiluMul");
}
void RopeAndStoreKv(TensorView, const KvPages&, View, View, View, int64_t, const Stream&) {
  NoCuda("RopeAndStoreKv");
}
void MatMulRopeAndStoreKv(TensorView, View, View, const KvPages&, View, View, View, int64_t,
                          Scratch&, const Stream&) {
  NoCuda("MatMulRopeAndStoreKv");
}
void PrefillAttention(TensorView, View, const KvPages&, const PrefillBatch&, float, Scratch&,
                      const Stream&) {
  NoCuda("PrefillAttention");
}
void DecodeAttention(TensorView, View, const KvPages&, const DecodeBatch&, float, Scratch&,
                     const Stream&) {
  NoCuda("DecodeAttention");
}
void FilterAttention(TensorView, TensorView, View, const KvPages&, const DecodeBatch&,
                     const CandidateView&, ScoreKind, ops::LseScope, float, Scratch&,
                     const Stream&) {
  NoCuda("FilterAttention");
}
void FilterScores(TensorView, View, const KvPages&, const DecodeBatch&, const CandidateView&,
                  ScoreKind, ops::LseScope, float, Scratch&, const Stream&) {
  NoCuda("FilterScores");
}
void GatherAttention(TensorView, View, const KvRows&, View, const SelectionView&,
                     const DecodeBatch&, float, Scratch&, const Stream&) {
  NoCuda("GatherAttention");
}
void TopK(TensorView, TensorView, TensorView, View, const CandidateView&, Scratch&, const Stream&) {
  NoCuda("TopK");
}
void MergeTopK(TensorView, TensorView, View, View, const CandidateView&, Scratch&, const Stream&) {
  NoCuda("MergeTopK");
}
void RowsOfPositions(TensorView, const SelectionView&, View, int64_t, int64_t, const Stream&) {
  NoCuda("RowsOfPositions");
}
void ConcatVocab(TensorView, View, View, const Stream&) { NoCuda("ConcatVocab"); }
void Sample(TensorView, TensorView, TensorView, TensorView, View, const ops::SampleParams&,
            Scratch&, const Stream&) {
  NoCuda("Sample");
}

void TuneMatMul(TensorView, TensorView, const std::vector<View>&, Scratch&, const Stream&) {
  NoCuda("TuneMatMul");
}
size_t OpScratchBytes(const ScratchLimits&) { NoCuda("OpScratchBytes"); }

}  // namespace tamis::cuda
