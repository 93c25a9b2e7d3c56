// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/gguf.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"

namespace tamis {

std::string GgufTypeName(uint32_t type_id) {
  // By the format's numbers; empty ones were given up.
  static constexpr std::array<const char*, 40> kNames = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
      "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};
  if (type_id < kNames.size() && kNames[type_id][0] != '\0') return kNames[type_id];
  return absl::StrCat("type ", type_id);
}

absl::Status GgufFile::WrongType(std::string_view key, const Value& value,
                                 const char* wanted) const {
  static constexpr std::array<const char*, std::variant_size_v<Value>> kNames = {
      "an unsigned integer",
      "an integer",
      "a float",
      "a boolean",
      "a string",
      "an array of strings",
      "an array of integers",
      "an array of floats",
      "an array of booleans or arrays"};
  return absl::InvalidArgumentError(absl::StrCat(path_, ": metadata key ", Quoted(key), " is ",
                                                 kNames[value.index()], "; it must be ", wanted));
}

template <typename T>
absl::StatusOr<const T*> GgufFile::Find(std::string_view key, const char* wanted) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": metadata key ", Quoted(key), " is missing"));
  }
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) return WrongType(key, found->second, wanted);
  return value;
}

absl::StatusOr<std::string> GgufFile::GetString(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const std::string* value, Find<std::string>(key, "a string"));
  return *value;
}

absl::StatusOr<uint64_t> GgufFile::GetUint(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found != metadata_.end()) {
    const int64_t* number = std::get_if<int64_t>(&found->second);
    if (number != nullptr) {
      if (*number >= 0) return static_cast<uint64_t>(*number);
      return absl::InvalidArgumentError(absl::StrCat(path_, ": metadata key ", Quoted(key), " is ",
                                                     *number, "; it must not be negative"));
    }
  }
  TAMIS_ASSIGN_OR_RETURN(const uint64_t* value, Find<uint64_t>(key, "an unsigned integer"));
  return *value;
}

absl::StatusOr<int64_t> GgufFile::GetInt(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found != metadata_.end()) {
    const uint64_t* number = std::get_if<uint64_t>(&found->second);
    if (number != nullptr) {
      if (*number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return static_cast<int64_t>(*number);
      }
      return absl::InvalidArgumentError(absl::StrCat(path_, ": metadata key ", Quoted(key), " is ",
                                                     *number, ", which is too large"));
    }
  }
  TAMIS_ASSIGN_OR_RETURN(const int64_t* value, Find<int64_t>(key, "an integer"));
  return *value;
}

absl::StatusOr<double> GgufFile::GetFloat(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const double* value, Find<double>(key, "a float"));
  return *value;
}

absl::StatusOr<bool> GgufFile::GetBool(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const bool* value, Find<bool>(key, "a boolean"));
  return *value;
}

absl::StatusOr<std::span<const std::string>> GgufFile::GetStringArray(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<std::string>* value,
                         Find<std::vector<std::string>>(key, "an array of strings"));
  return std::span<const std::string>(*value);
}

absl::StatusOr<std::vector<int32_t>> GgufFile::GetInt32Array(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<int64_t>* value,
                         Find<std::vector<int64_t>>(key, "an array of integers"));
  std::vector<int32_t> numbers;
  numbers.reserve(value->size());
  for (int64_t number : *value) {
    if (number < std::numeric_limits<int32_t>::min() ||
        number > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": metadata key ", Quoted(key),
                                                     " holds ", number,
                                                     ", which does not fit into 32 bits"));
    }
    numbers.push_back(static_cast<int32_t>(number));
  }
  return numbers;
}

absl::StatusOr<std::vector<float>> GgufFile::GetFloatArray(std::string_view key) const {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<double>* value,
                         Find<std::vector<double>>(key, "an array of floats"));
  std::vector<float> numbers(value->size());
  std::transform(value->begin(), value->end(), numbers.begin(),
                 [](double number) { return static_cast<float>(number); });
  return numbers;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace tamis
