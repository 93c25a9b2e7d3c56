// SPDX-License-Identifier: Apache-2.0
// `tamis bench filters`: which layers of a model should choose the tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/bench/lab_inputs.h"

namespace tamis {

struct FiltersFlags {
  LabFlags lab;
  std::vector<std::string> held_out;
  std::vector<std::string> compare;
  int64_t num_filters = 3;
  int64_t dense_layers_max = 0;
  int64_t wait_layers = 0;
  int64_t passes = 1;
  int64_t similarity_steps = 16;
  std::string objective = "loss";
  std::string score = "raw_max";
  double budget = 0.067;
  int64_t sinks = 4;
  int64_t recents = 64;
  std::string state_path;
};

void AddFiltersBench(CLI::App* app, FiltersFlags* flags);

// Returns the exit code.
int RunFiltersBench(const FiltersFlags& flags, int* argc, char*** argv);

}  // namespace tamis
