// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets and the mutation test call: one untrusted file, in memory, all the way. The
// result only tells how far it got; a crash or a sanitizer report is the failure.
#pragma once

#include <cstddef>
#include <span>

namespace tamis {

enum class FuzzDepth { kRefused, kParsed, kLoaded };

// Parses, reads every metadata value, makes a model of it and loads rank 0 of 2.
FuzzDepth FuzzGguf(std::span<const std::byte> bytes);
// Parses the header and reads a byte of either end of every tensor.
FuzzDepth FuzzSafetensors(std::span<const std::byte> bytes);

}  // namespace tamis
