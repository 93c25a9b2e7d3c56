// SPDX-License-Identifier: Apache-2.0
// The program's version, as CMake knows it.
#pragma once

namespace tamis {

inline constexpr char kVersion[] = TAMIS_VERSION;

}  // namespace tamis
