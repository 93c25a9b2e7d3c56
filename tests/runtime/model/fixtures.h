// SPDX-License-Identifier: Apache-2.0
// Reads what make_fixtures.py wrote: a text file of words and a file of float32.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/check.h"

namespace tamis {

// TAMIS_FIXTURE_DIR is this folder; set by CMake.
inline std::ifstream OpenFixture(const std::string& name) {
  std::ifstream file(TAMIS_FIXTURE_DIR "/" + name, std::ios::binary);
  CHECK(file.good()) << "missing fixture " << name;
  return file;
}

// The next word must be `word`; false at the end of the file.
inline bool Expect(std::istream& file, const std::string& word) {
  std::string found;
  if (!(file >> found)) return false;
  CHECK_EQ(found, word);
  return true;
}

inline std::vector<int32_t> ReadIntegers(std::istream& file, const std::string& word) {
  CHECK(Expect(file, word)) << "the fixture ends before " << word;
  size_t count = 0;
  file >> count;
  std::vector<int32_t> values(count);
  for (int32_t& value : values) file >> value;
  CHECK(!file.fail());
  return values;
}

inline std::vector<float> ReadFloats(std::istream& file, size_t count) {
  std::vector<float> values(count);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(count * sizeof(float)));
  CHECK(!file.fail()) << "the fixture is too short";
  return values;
}

}  // namespace tamis
