// SPDX-License-Identifier: Apache-2.0
// Writes small GGUF and safetensors files byte by byte, right or wrong, for the tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tamis {

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline std::string FixturePath(const std::string& name) {
  return std::string(TAMIS_LOAD_FIXTURES) + "/" + name;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A directory that is there for the length of a test.
class ScratchDir {
 public:
  ScratchDir() {
    std::string pattern = testing::TempDir() + "/load_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

 private:
  std::string path_;
};

// Little-endian bytes of `value`.
template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string GgufString(const std::string& text) { return Raw<uint64_t>(text.size()) + text; }

// Value types of the format.
enum GgufValueType : uint32_t {
  kGgufU8 = 0,
  kGgufI8 = 1,
  kGgufU16 = 2,
  kGgufI16 = 3,
  kGgufU32 = 4,
  kGgufI32 = 5,
  kGgufF32 = 6,
  kGgufBool = 7,
  kGgufString = 8,
  kGgufArray = 9,
  kGgufU64 = 10,
  kGgufI64 = 11,
  kGgufF64 = 12,
};

// Collects keys and tensors; Bytes() is the file. Public members may be set wrong on purpose.
struct GgufBuilder {
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t alignment = 32;
  int64_t num_keys_off = 0;     // added to the true count
  int64_t num_tensors_off = 0;  // added to the true count

  GgufBuilder& Key(const std::string& key, uint32_t type, const std::string& value) {
    keys += GgufString(key) + Raw(type) + value;
    ++num_keys;
    return *this;
  }
  GgufBuilder& Array(const std::string& key, uint32_t type, uint64_t count,
                     const std::string& elements) {
    return Key(key, kGgufArray, Raw(type) + Raw(count) + elements);
  }
  // `sizes` as in the file: innermost first.
  GgufBuilder& Tensor(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type,
                      const std::string& tensor_data) {
    data.resize((data.size() + alignment - 1) / alignment * alignment, '\0');
    infos += GgufString(name) + Raw<uint32_t>(static_cast<uint32_t>(sizes.size()));
    for (uint64_t size : sizes) infos += Raw(size);
    infos += Raw(type) + Raw<uint64_t>(data.size());
    data += tensor_data;
    ++num_tensors;
    return *this;
  }
  // A tensor's description alone, with any offset.
  GgufBuilder& Info(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type,
                    uint64_t offset) {
    infos += GgufString(name) + Raw<uint32_t>(static_cast<uint32_t>(sizes.size()));
    for (uint64_t size : sizes) infos += Raw(size);
    infos += Raw(type) + Raw(offset);
    ++num_tensors;
    return *this;
  }

  std::string Bytes() const {
    std::string bytes = Raw(magic) + Raw(version) +
                        Raw(static_cast<uint64_t>(num_tensors + num_tensors_off)) +
                        Raw(static_cast<uint64_t>(num_keys + num_keys_off)) + keys + infos;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
    return bytes + data;
  }

  std::string keys;
  std::string infos;
  std::string data;
  int64_t num_keys = 0;
  int64_t num_tensors = 0;
};

// The bytes of a safetensors file.
inline std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  return Raw<uint64_t>(header.size()) + header + data;
}

}  // namespace tamis
