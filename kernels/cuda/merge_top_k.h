// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tamis::cuda {

// The union of one row's lists, in shared memory where it fits, else in scratch.
int64_t MergeTopKBytes(int64_t ranks, int64_t k_max);

}  // namespace tamis::cuda
