// SPDX-License-Identifier: Apache-2.0
// The two twins of every op, private to kernels/. Declared by type from ops.h, so that the three
// cannot drift apart; a missing definition is a link error. no_cuda.cc stands in for cuda::.
#pragma once

#include "kernels/ops.h"

namespace tamis::cpu {

decltype(ops::ResolveTokens) ResolveTokens;
decltype(ops::StoreSlotTokens) StoreSlotTokens;
decltype(ops::Embedding) Embedding;
decltype(ops::GatherRows) GatherRows;
decltype(ops::RmsNorm) RmsNorm;
decltype(ops::AddRmsNorm) AddRmsNorm;
decltype(ops::SiluMul) SiluMul;
decltype(ops::FillRandom) FillRandom;
decltype(ops::MatMul) MatMul;
decltype(ops::MatMulSiluMul) MatMulSiluMul;
decltype(ops::RopeAndStoreKv) RopeAndStoreKv;
decltype(ops::MatMulRopeAndStoreKv) MatMulRopeAndStoreKv;
decltype(ops::PrefillAttention) PrefillAttention;
decltype(ops::DecodeAttention) DecodeAttention;
decltype(ops::FilterAttention) FilterAttention;
decltype(ops::GatherAttention) GatherAttention;
decltype(ops::TopK) TopK;
decltype(ops::MergeTopK) MergeTopK;
decltype(ops::RowsOfPositions) RowsOfPositions;
decltype(ops::ConcatVocab) ConcatVocab;
decltype(ops::Sample) Sample;

}  // namespace tamis::cpu

namespace tamis::cuda {

decltype(ops::ResolveTokens) ResolveTokens;
decltype(ops::StoreSlotTokens) StoreSlotTokens;
decltype(ops::Embedding) Embedding;
decltype(ops::GatherRows) GatherRows;
decltype(ops::RmsNorm) RmsNorm;
decltype(ops::AddRmsNorm) AddRmsNorm;
decltype(ops::SiluMul) SiluMul;
decltype(ops::FillRandom) FillRandom;
decltype(ops::MatMul) MatMul;
decltype(ops::MatMulSiluMul) MatMulSiluMul;
decltype(ops::RopeAndStoreKv) RopeAndStoreKv;
decltype(ops::MatMulRopeAndStoreKv) MatMulRopeAndStoreKv;
decltype(ops::PrefillAttention) PrefillAttention;
decltype(ops::DecodeAttention) DecodeAttention;
decltype(ops::FilterAttention) FilterAttention;
decltype(ops::GatherAttention) GatherAttention;
decltype(ops::TopK) TopK;
decltype(ops::MergeTopK) MergeTopK;
decltype(ops::RowsOfPositions) RowsOfPositions;
decltype(ops::ConcatVocab) ConcatVocab;
decltype(ops::Sample) Sample;

}  // namespace tamis::cuda

namespace tamis {

// The twin that runs on the stream's device.
template <typename Op>
Op* Pick(const Stream& stream, Op* on_cpu, Op* on_cuda) {
  return stream.device() == DeviceKind::kCuda ? on_cuda : on_cpu;
}

}  // namespace tamis
