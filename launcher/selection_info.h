// SPDX-License-Identifier: Apache-2.0
// The engine's numbers on selection as the info RPC has them.
#pragma once

#include "proto/tamis.pb.h"
#include "runtime/model/selection_config.h"
#include "runtime/model/selection_stats.h"

namespace tamis {

// Nothing where no layer selects.
void FillSelectionInfo(const SelectionConfig& config, const SelectionStats& stats,
                       v1::GetServerInfoResponse* response);

}  // namespace tamis
