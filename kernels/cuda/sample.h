// SPDX-License-Identifier: Apache-2.0
// What Sample takes from scratch, shared with scratch_bytes.cu.
#pragma once

namespace tamis::cuda {

constexpr int kSamplePieces = 64;  // of a row, summarised in parallel

}  // namespace tamis::cuda
