// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "tests/runtime/load/fuzz_entries.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tamis::FuzzGguf(std::as_bytes(std::span(data, size)));
  return 0;
}
