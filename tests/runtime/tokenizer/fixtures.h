// SPDX-License-Identifier: Apache-2.0
// Reads what make_fixtures.py wrote, and lays out model directories for a test.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

using Ids = std::vector<int32_t>;

inline std::string FixturePath(const std::string& name) {
  return std::string(TAMIS_FIXTURE_DIR) + "/" + name;
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline nlohmann::json FixtureJson(const std::string& name) {
  return nlohmann::json::parse(ReadAll(FixturePath(name)));
}

// The lines of lines.txt, each a JSON string in the file.
inline std::vector<std::string> FixtureLines() {
  std::ifstream in(FixturePath("lines.txt"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(nlohmann::json::parse(line).get<std::string>());
  }
  return lines;
}

// The ids of each line; `width` digits of base 64 per id.
inline std::vector<Ids> FixtureIds(const std::string& name, size_t width) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::ifstream in(FixturePath(name));
  std::vector<Ids> all;
  for (std::string line; std::getline(in, line);) {
    Ids ids;
    for (size_t i = 0; i + width <= line.size(); i += width) {
      int32_t id = 0;
      for (size_t d = 0; d < width; ++d) {
        id = id * 64 + static_cast<int32_t>(kDigits.find(line[i + d]));
      }
      ids.push_back(id);
    }
    all.push_back(std::move(ids));
  }
  return all;
}

// Dies unless `path` opens: without a tokenizer nothing in a test makes sense.
inline std::unique_ptr<Tokenizer> OpenOrDie(const std::string& path) {
  auto tokenizer = Tokenizer::Open(path);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    std::abort();
  }
  return *std::move(tokenizer);
}

// The path of the real model, or null.
inline const char* TestModelPath() { return std::getenv("TAMIS_TEST_MODEL"); }

// A directory that lasts as long as the object.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tokenizer_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, const std::string& content) const {
    const std::string file = path_ + "/" + name;
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

 private:
  std::string path_;
};

}  // namespace tamis
