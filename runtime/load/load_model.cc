// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/load_model.h"

#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/formats.h"

namespace tamis {

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenModel(const std::string& path, LoadFormat format,
                                                      uint64_t seed) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file or directory"));
  }
  const bool directory = std::filesystem::is_directory(status);
  switch (format) {
    case LoadFormat::kDummy: return OpenDummyModel(path, seed);
    case LoadFormat::kGguf:
      if (!directory) return OpenGgufModel(path);
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": a directory; the gguf format needs the path of a file"));
    case LoadFormat::kSafetensors:
      if (directory) return OpenHfModel(path);
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": not a directory; the safetensors format needs one that holds config.json"));
    case LoadFormat::kAuto: break;
  }
  // A file is refused by the GGUF reader if it is none, by its first bytes.
  return directory ? OpenHfModel(path) : OpenGgufModel(path);
}

}  // namespace tamis
