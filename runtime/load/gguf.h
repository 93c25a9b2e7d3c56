// SPDX-License-Identifier: Apache-2.0
// A GGUF v3 file: typed metadata and tensors, from the public description of the format. Nothing
// in the file is trusted: every length is checked against the bytes that are there before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/load/block_formats.h"
#include "runtime/load/mapped_file.h"

namespace tamis {

struct GgufTensor {
  std::string name;
  std::vector<int64_t> sizes;       // outermost first: {rows, columns} (the file has them reversed)
  uint32_t type_id = 0;             // the format's number
  std::optional<StoredType> type;   // empty: a type that Tamis cannot decode
  std::span<const std::byte> data;  // empty if `type` is
};

// The format's name of a tensor type, "type 77" for unknown ones.
std::string GgufTypeName(uint32_t type_id);

// Immutable after construction. Move-only. Views that it gives out live as long as it does.
class GgufFile {
 public:
  // Maps and parses a file.
  static absl::StatusOr<GgufFile> Open(const std::string& path);
  // Parses bytes that outlive the result; `path` is for messages.
  static absl::StatusOr<GgufFile> Parse(std::span<const std::byte> bytes, const std::string& path);

  const std::string& path() const { return path_; }

  // Metadata. NotFound without the key, InvalidArgument if the value has another type or does not
  // fit; both name file and key. Integers of any width and sign are read by either integer getter;
  // GetFloat reads f32 and f64.
  bool Has(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }
  absl::StatusOr<std::string> GetString(std::string_view key) const;
  absl::StatusOr<uint64_t> GetUint(std::string_view key) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::span<const std::string>> GetStringArray(std::string_view key) const;
  absl::StatusOr<std::vector<int32_t>> GetInt32Array(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloatArray(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* FindTensor(std::string_view name) const;           // null if there is none

  // The mapping that tensor data points into, for an owner that outlives this object. None after
  // Parse.
  std::optional<MappedFile> TakeMapping() { return std::exchange(file_, std::nullopt); }

 private:
  friend class GgufParser;
  struct UnreadArray {};  // an array of booleans or of arrays: legal, but nothing of ours reads it
  using Value = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<std::string>,
                             std::vector<int64_t>, std::vector<double>, UnreadArray>;

  GgufFile() = default;
  // The value of `key` if it holds a T; `wanted` names T in the error.
  template <typename T>
  absl::StatusOr<const T*> Find(std::string_view key, const char* wanted) const;
  absl::Status WrongType(std::string_view key, const Value& value, const char* wanted) const;

  std::string path_;
  std::optional<MappedFile> file_;
  std::map<std::string, Value, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
};

}  // namespace tamis
