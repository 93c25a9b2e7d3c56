// SPDX-License-Identifier: Apache-2.0
// `tamis bench quality`: what sparse decoding changes, on long texts and retrieval tasks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/bench/lab_inputs.h"

namespace tamis {

struct QualityFlags {
  LabFlags lab;
  std::string filters;
  std::vector<std::string> other_filters;
  std::vector<double> budgets = {0.016, 0.03, 0.067, 0.125, 0.25};
  std::vector<double> filter_budgets = {0.067};
  std::vector<std::string> factors;
  int64_t sinks = 4;
  int64_t recents = 64;
  int64_t free_tokens = 64;
  int64_t probe_steps = 16;
  int64_t task_samples = 8;
  std::vector<int64_t> task_lens = {4096};
  double time_limit_s = 0;
};

void AddQualityBench(CLI::App* app, QualityFlags* flags);

// Returns the exit code.
int RunQualityBench(const QualityFlags& flags, int* argc, char*** argv);

}  // namespace tamis
