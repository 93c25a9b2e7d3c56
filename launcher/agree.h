// SPDX-License-Identifier: Apache-2.0
// Start-up errors over ranks: all of them go on, or all of them stop with one message.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "parallel/control.h"

namespace tamis {

// Every rank calls it. OK if every rank's status is; else, on every rank, the lowest failing
// rank's message (with that rank's number unless all failed alike).
absl::Status AgreeOnStatus(Control& control, const absl::Status& mine);

// Every rank calls it with text that must be the same everywhere; else the error names the first
// line that differs, the rank and both values.
absl::Status AgreeOnText(Control& control, const std::string& text);

}  // namespace tamis
