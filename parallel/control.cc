// SPDX-License-Identifier: Apache-2.0
#include "parallel/control.h"

namespace tamis {

void Barrier(Control& control) { control.AllGather({}); }

bool AllAgree(Control& control, bool mine) {
  for (const std::string& answer : control.AllGather(mine ? "y" : "n")) {
    if (answer != "y") return false;
  }
  return true;
}

}  // namespace tamis
