// SPDX-License-Identifier: Apache-2.0
// The tables of kernels, by name. Needs no CUDA header, and no CUDA to link against.
#pragma once

#include <string>
#include <vector>

namespace tamis::bench {

// One line of a table.
struct KernelRow {
  std::string table;
  std::string name;
  double us = 0;     // of one call
  double bytes = 0;  // that must move, or 0
  double flops = 0;  // or 0
};

struct KernelTables {
  double read_ceiling = 0;  // bytes per second
  std::vector<KernelRow> rows;
};

std::vector<std::string> KernelTableNames();

// Measures the named tables, or all if none is named, on the thread's current CUDA device, and
// prints them. Dies in a build without CUDA, and on an unknown name.
KernelTables RunKernelTables(const std::vector<std::string>& wanted);

}  // namespace tamis::bench
