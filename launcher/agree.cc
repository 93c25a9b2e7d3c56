// SPDX-License-Identifier: Apache-2.0
// Texts are compared by hash first: usually they are equal and nothing but 8 bytes travels.
#include "launcher/agree.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tamis {
namespace {

// FNV-1a (Fowler, Noll, Vo), 64 bits.
std::string Hash(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  std::string bytes(sizeof(hash), '\0');
  std::memcpy(bytes.data(), &hash, sizeof(hash));
  return bytes;
}

std::string FirstDifference(const std::string& ours, const std::string& theirs, int rank) {
  const std::vector<std::string> a = absl::StrSplit(ours, '\n');
  const std::vector<std::string> b = absl::StrSplit(theirs, '\n');
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string left = i < a.size() ? a[i] : "nothing";
    const std::string right = i < b.size() ? b[i] : "nothing";
    if (left != right) {
      return absl::StrCat("ranks disagree: rank 0 has \"", left, "\", rank ", rank, " has \"",
                          right, "\"");
    }
  }
  return "ranks disagree";
}

}  // namespace

absl::Status AgreeOnStatus(Control& control, const absl::Status& mine) {
  // One byte of code, then the message; empty = OK.
  std::string bytes;
  if (!mine.ok()) {
    bytes = absl::StrCat(std::string(1, static_cast<char>(mine.code())), mine.message());
  }
  const std::vector<std::string> all = control.AllGather(bytes);
  const auto failed =
      std::find_if(all.begin(), all.end(), [](const std::string& one) { return !one.empty(); });
  if (failed == all.end()) return absl::OkStatus();
  const bool alike =
      std::all_of(all.begin(), all.end(), [&](const std::string& one) { return one == *failed; });
  const std::string where = alike ? "" : absl::StrCat("rank ", failed - all.begin(), ": ");
  return absl::Status(static_cast<absl::StatusCode>(failed->front()),
                      absl::StrCat(where, failed->substr(1)));
}

absl::Status AgreeOnText(Control& control, const std::string& text) {
  const std::vector<std::string> hashes = control.AllGather(Hash(text));
  const bool equal = std::all_of(hashes.begin(), hashes.end(),
                                 [&](const std::string& hash) { return hash == hashes[0]; });
  if (equal) return absl::OkStatus();
  const std::vector<std::string> texts = control.AllGather(text);
  for (size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] != texts[0]) {
      return absl::FailedPreconditionError(
          FirstDifference(texts[0], texts[rank], static_cast<int>(rank)));
    }
  }
  return absl::InternalError("ranks disagree");
}

}  // namespace tamis
