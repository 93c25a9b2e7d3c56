// SPDX-License-Identifier: Apache-2.0
// `tamis bench kernels`: every kernel beside the read ceiling and, where there is one, its rival.
#pragma once

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace tamis {

struct KernelsBenchFlags {
  std::vector<std::string> tables;  // none = all
  std::string json_path;
};

void AddKernelsBench(CLI::App* app, KernelsBenchFlags* flags);

// Returns the exit code.
int RunKernelsBench(const KernelsBenchFlags& flags, int* argc, char*** argv);

}  // namespace tamis
