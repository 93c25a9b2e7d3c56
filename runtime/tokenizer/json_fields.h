// SPDX-License-Identifier: Apache-2.0
// Typed reads from a JSON document whose errors name the file and the field's path.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace tamis {

// A JSON value, with the file and path that it was read from ("model.merges").
class JsonField {
 public:
  // Reads and parses a file. NOT_FOUND, or INVALID_ARGUMENT when it is not a JSON object.
  static absl::StatusOr<nlohmann::json> ReadFile(const std::string& path);

  JsonField(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  // A missing or null member reads as null. Of a value that is no object, every member is missing.
  JsonField operator[](const std::string& key) const;
  JsonField At(size_t index) const;  // of an array
  bool is_null() const { return value_->is_null(); }
  size_t size() const { return value_->size(); }

  absl::Status ExpectObject() const;
  absl::Status ExpectArray() const;
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<bool> BoolOr(bool fallback) const;  // the fallback when null
  absl::StatusOr<int32_t> Id() const;                // a token id

  // INVALID_ARGUMENT "FILE: PATH: reason".
  absl::Status Error(const std::string& reason) const;
  // UNIMPLEMENTED "FILE: PATH: VALUE is not supported (supported: ...)".
  absl::Status Unsupported(const std::string& supported) const;

 private:
  const nlohmann::json* value_;
  std::string file_, path_;
};

}  // namespace tamis
