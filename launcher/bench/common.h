// SPDX-License-Identifier: Apache-2.0
// What benchmarks share: flags, the JSON file, and how they end.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "launcher/serve_flags.h"
#include "nlohmann/json.hpp"

namespace tamis {

// Adds --json FILE.
void AddJsonFlag(CLI::App* app, std::string* path);

// Adds those options of `tamis serve` that shape the model, its ranks, memory and selection, with
// the same names and meaning, and --config.
void AddModelFlags(CLI::App* app, ServeFlags* flags);

// Writes {"benchmark", "version", ...body} to `path`, or nothing if it is empty. "-" is stdout.
absl::Status WriteBenchJson(const std::string& path, const std::string& benchmark,
                            nlohmann::json body);

// Prints "tamis: MESSAGE" to stderr unless ok; returns the exit code.
int ExitCodeOf(const absl::Status& status);

}  // namespace tamis
