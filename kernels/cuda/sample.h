// SPDX-License-Identifier: Apache-2.0
// What Sample takes from scratch, shared with scratch_bytes.cu.
#pragma once

namespace tamis::cuda {

constexpr int kSamplePieces = 64;     // of a row, read in parallel
constexpr int kSampleListMax = 2048;  // entries of a row that top_k or top_p may leave

}  // namespace tamis::cuda
