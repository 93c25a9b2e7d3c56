// SPDX-License-Identifier: Apache-2.0
// `tamis bench logits`: what the model says after given tokens, through the same loading, worker
// and kernels as serving, so that two rank counts, or another program, can be compared with it.
#pragma once

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"
#include "launcher/serve_flags.h"

namespace tamis {

struct LogitsFlags {
  ServeFlags serve;
  std::string tokens_path;
  int64_t chunk_tokens = 64;
  int64_t decode_tokens = 16;
  std::string out_path;
};

void AddLogitsBench(CLI::App* app, LogitsFlags* flags);

// Every rank calls it. Returns the exit code.
int RunLogitsBench(const LogitsFlags& flags, int* argc, char*** argv);

}  // namespace tamis
