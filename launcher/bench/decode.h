// SPDX-License-Identifier: Apache-2.0
// `tamis bench decode`: whole decode steps at given contexts and batches, through the same engine
// and worker as serving, over a cache of random values that nobody prefilled.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "launcher/serve_flags.h"

namespace tamis {

struct DecodeBenchFlags {
  ServeFlags serve;
  std::string cases = "1x1024";
  bool break_even = false;  // break_even.h, instead of cases
  int steps = 30;
  int warmup = 5;
  double timeout_s = 300;      // of one case
  std::string simulate_rank;   // "0/8", or empty
  std::string latencies_path;  // of collectives
  std::string json_path;
};

void AddDecodeBench(CLI::App* app, DecodeBenchFlags* flags);

// Every rank calls it. Returns the exit code.
int RunDecodeBench(const DecodeBenchFlags& flags, int* argc, char*** argv);

}  // namespace tamis
