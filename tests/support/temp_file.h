// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace tamis {

// Writes a file into the tests' folder of temporary files, over one that is there, and returns its
// path.
inline std::string WriteTempFile(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

}  // namespace tamis
