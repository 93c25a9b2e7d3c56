// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/safetensors.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/byte_reader.h"
#include "runtime/load/json_depth.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

using nlohmann::json;

constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the format's own limit

absl::Status Corrupt(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

std::optional<uint64_t> ElementBytes(const std::string& dtype) {
  static constexpr std::pair<const char*, uint64_t> kBytes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};
  for (const auto& [name, bytes] : kBytes) {
    if (dtype == name) return bytes;
  }
  return std::nullopt;
}

// Parses JSON; *twice becomes a key that the top-level object holds twice, which the library
// would otherwise hide.
json ParseJson(std::span<const std::byte> text, std::optional<std::string>* twice) {
  std::set<std::string> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1 &&
        !keys.insert(parsed.get_ref<const std::string&>()).second) {
      *twice = parsed.get_ref<const std::string&>();
    }
    return true;
  };
  const char* begin = reinterpret_cast<const char*>(text.data());
  if (NestsTooDeep({begin, text.size()})) return json(json::value_t::discarded);
  return json::parse(begin, begin + text.size(), watch, /*allow_exceptions=*/false);
}

// A list of integers from 0 to the largest int64.
std::optional<std::vector<int64_t>> IntegerList(const json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& element : *found) {
    if (!element.is_number_unsigned()) return std::nullopt;
    const uint64_t number = element.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    numbers.push_back(static_cast<int64_t>(number));
  }
  return numbers;
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& path, const std::string& name,
                                            const json& object, std::span<const std::byte> data) {
  const std::string tensor = absl::StrCat("tensor ", Quoted(name));
  if (!object.is_object()) return Corrupt(path, absl::StrCat(tensor, " is not a JSON object"));
  SafetensorsEntry entry;
  entry.name = name;
  const auto dtype = object.find("dtype");
  if (dtype == object.end() || !dtype->is_string()) {
    return Corrupt(path, absl::StrCat(tensor, " has no \"dtype\" that is a string"));
  }
  entry.dtype = dtype->get<std::string>();
  const auto sizes = IntegerList(object, "shape");
  if (!sizes) {
    return Corrupt(path, absl::StrCat(tensor, " has no \"shape\" that is a list of sizes"));
  }
  entry.sizes = *sizes;
  const auto offsets = IntegerList(object, "data_offsets");
  if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return Corrupt(path,
                   absl::StrCat(tensor, " has no \"data_offsets\" that are a begin and an end"));
  }
  const uint64_t begin = static_cast<uint64_t>((*offsets)[0]);
  const uint64_t end = static_cast<uint64_t>((*offsets)[1]);
  if (end > data.size()) {
    return Corrupt(path,
                   absl::StrCat("the file is truncated or corrupt: ", tensor, " ends at byte ", end,
                                " of the data, which has ", data.size()));
  }
  const std::optional<uint64_t> element_bytes = ElementBytes(entry.dtype);
  if (!element_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", tensor, " has unknown dtype ", Quoted(entry.dtype)));
  }
  uint64_t bytes = *element_bytes;
  for (int64_t size : entry.sizes) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) {
      return Corrupt(path, absl::StrCat(tensor, " has an impossible shape"));
    }
  }
  if (bytes != end - begin) {
    return Corrupt(path, absl::StrCat(tensor, " takes ", end - begin, " bytes, but its shape and ",
                                      "dtype need ", bytes));
  }
  entry.data = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  return entry;
}

// Sorts by place and checks that the entries cover the data exactly.
absl::Status CheckCover(const std::string& path, std::span<const std::byte> data,
                        std::vector<SafetensorsEntry>& entries) {
  std::sort(
      entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
        return std::pair(a.data.data(), a.data.size()) < std::pair(b.data.data(), b.data.size());
      });
  const std::byte* covered = data.data();
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::byte* begin = entries[i].data.data();
    if (begin < covered) {
      return Corrupt(path, absl::StrCat("the data of tensors ", Quoted(entries[i - 1].name),
                                        " and ", Quoted(entries[i].name), " overlap"));
    }
    if (begin > covered) {
      return Corrupt(path, absl::StrCat("bytes ", covered - data.data(), " to ",
                                        begin - data.data(), " of the data belong to no tensor"));
    }
    covered = begin + entries[i].data.size();
  }
  if (covered != data.data() + data.size()) {
    return Corrupt(path, absl::StrCat("the data has ", data.size(), " bytes, but the tensors end ",
                                      "at byte ", covered - data.data()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensors(std::span<const std::byte> file,
                                                               const std::string& path) {
  ByteReader reader(file);
  uint64_t header_bytes = 0;
  std::span<const std::byte> header;
  if (!reader.Read(&header_bytes)) {
    return Corrupt(path, absl::StrCat("the file has only ", file.size(), " bytes"));
  }
  if (header_bytes > kHeaderBytesMax || !reader.Take(header_bytes, &header)) {
    return Corrupt(path,
                   absl::StrCat("not a safetensors file, or truncated: its header would take ",
                                header_bytes, " bytes, the file has ", file.size()));
  }
  std::optional<std::string> twice;
  const json parsed = ParseJson(header, &twice);
  if (!parsed.is_object()) return Corrupt(path, "the header is not a JSON object");
  if (twice) return Corrupt(path, absl::StrCat("tensor ", Quoted(*twice), " appears twice"));
  const std::span<const std::byte> data = file.subspan(reader.position());
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, object] : parsed.items()) {
    if (name == "__metadata__") continue;
    TAMIS_ASSIGN_OR_RETURN(SafetensorsEntry entry, ParseEntry(path, name, object, data));
    entries.push_back(std::move(entry));
  }
  TAMIS_RETURN_IF_ERROR(CheckCover(path, data, entries));
  return entries;
}

}  // namespace tamis
