// SPDX-License-Identifier: Apache-2.0
// The table of options as flags of a subcommand, for `serve` and for benchmarks that load a model.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "launcher/serve_config.h"

namespace tamis {

struct ServeFlags {
  std::string config_path;                    // a YAML file, or empty
  std::map<std::string, std::string> values;  // by option name, as typed
};

// Adds --config and those of the table's options that `wanted` accepts. `flags` outlives `app`.
void AddServeFlags(
    CLI::App* app, ServeFlags* flags,
    const std::function<bool(const std::string& name)>& wanted = [](const auto&) { return true; });

// Reads the YAML file and applies the flags over it. Appends every problem, one sentence each; the
// result means nothing if there is one.
ServeConfig ResolveServeFlags(const ServeFlags& flags, std::vector<std::string>* problems);

}  // namespace tamis
