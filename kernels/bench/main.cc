// SPDX-License-Identifier: Apache-2.0
// kernels_bench [TABLE...]: `tamis bench kernels` for machines without the rest of the program.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/bench/tables.h"
#include "kernels/device.h"

int main(int argc, char** argv) {
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  const std::vector<std::string> names = tamis::bench::KernelTableNames();
  for (const std::string& name : wanted) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::fprintf(stderr, "kernels_bench: no table %s\n", name.c_str());
    return 2;
  }
  if (tamis::CudaDeviceCount() == 0) {
    std::fprintf(stderr, "kernels_bench: no CUDA device is visible\n");
    return 1;
  }
  tamis::SetCudaDevice(0);
  tamis::bench::RunKernelTables(wanted);
  return 0;
}
