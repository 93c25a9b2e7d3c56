// SPDX-License-Identifier: Apache-2.0
// The engine's numbers on selection as the info RPC has them.
#pragma once

#include "proto/selection_info.pb.h"
#include "runtime/model/selection_stats.h"

namespace tamis {

void FillSelectionInfo(const SelectionStats& stats, v1::SelectionInfo* info);

}  // namespace tamis
