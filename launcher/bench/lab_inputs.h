// SPDX-License-Identifier: Apache-2.0
// What the benchmarks of selection have in common: a model, texts and a device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "launcher/lab/case_set.h"
#include "runtime/load/load_model.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

struct LabFlags {
  std::string model;
  std::string load_format = "auto";
  std::vector<std::string> texts;
  std::string device = "auto";
  std::vector<int64_t> context_lens = {2048, 4096, 8192};
  int64_t decode_tokens = 128;
  int64_t rows = 64;
  int64_t chunk_tokens = 512;
  int64_t threads = 0;
  std::string json_path;
};

// The flags of `flags`. `texts_help` says what the texts are for.
void AddLabFlags(CLI::App* app, LabFlags* flags);

struct LabText {
  std::string name;
  std::vector<int32_t> tokens;
};

struct LabInputs {
  std::unique_ptr<ModelFiles> files;
  std::unique_ptr<Tokenizer> tokenizer;
  DeviceKind device = DeviceKind::kCpu;
  std::string device_name;
  int num_threads = 1;
};

// Opens model and tokenizer, and binds the thread to the device. Errors name the flag.
absl::StatusOr<LabInputs> OpenLabInputs(const LabFlags& flags);

// The texts of files, or of all *.txt in folders, by name.
absl::StatusOr<std::vector<LabText>> ReadTexts(const std::vector<std::string>& paths,
                                               const Tokenizer& tokenizer);

// Loads the weights in float32 and makes a lab with room for `planned` and for --rows forks that
// decode `decode_tokens_max` (those that are watched before, included).
absl::StatusOr<std::unique_ptr<Lab>> MakeLab(LabInputs& inputs, const LabFlags& flags,
                                             const PlannedCases& planned,
                                             int64_t decode_tokens_max);

// Writes through a temporary file, so that what was there stays until the new one is whole.
absl::Status WriteWholeFile(const std::string& path, const std::string& text);

// "2,8,18" to layers; an error names `flag`.
absl::StatusOr<std::vector<int32_t>> ParseLayers(const std::string& flag, const std::string& text);

}  // namespace tamis
