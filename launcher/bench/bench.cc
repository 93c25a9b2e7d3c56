// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/bench.h"

#include "launcher/bench/decode.h"
#include "launcher/bench/filters.h"
#include "launcher/bench/kernels.h"
#include "launcher/bench/logits.h"
#include "launcher/bench/quality.h"

namespace tamis {

struct BenchFlags {
  DecodeBenchFlags decode;
  FiltersFlags filters;
  QualityFlags quality;
  KernelsBenchFlags kernels;
  LogitsFlags logits;
};

template <typename Flags>
void BenchCommands::Add(const char* name, const char* help, Flags* flags,
                        void (*add)(CLI::App*, Flags*), int (*run)(const Flags&, int*, char***)) {
  CLI::App* app = bench_->add_subcommand(name, help);
  add(app, flags);
  commands_.push_back(
      {app, [flags, run](int* argc, char*** argv) { return run(*flags, argc, argv); }});
}

BenchCommands::BenchCommands(CLI::App* program)
    : flags_(std::make_unique<BenchFlags>()),
      bench_(program->add_subcommand("bench", "measure parts of the program")) {
  bench_->require_subcommand(1);
  Add("decode", "decode steps at given contexts and batches", &flags_->decode, AddDecodeBench,
      RunDecodeBench);
  Add("filters", "search the filter layers of a model", &flags_->filters, AddFiltersBench,
      RunFiltersBench);
  Add("quality", "what sparse decoding changes, over settings", &flags_->quality, AddQualityBench,
      RunQualityBench);
  Add("kernels", "every CUDA kernel beside the read ceiling", &flags_->kernels, AddKernelsBench,
      RunKernelsBench);
  Add("logits", "the logits of given tokens, written to a file", &flags_->logits, AddLogitsBench,
      RunLogitsBench);
}

BenchCommands::~BenchCommands() = default;

int BenchCommands::Run(int* argc, char*** argv) const {
  for (const Command& command : commands_) {
    if (command.app->parsed()) return command.run(argc, argv);
  }
  return 2;  // not reached: require_subcommand
}

}  // namespace tamis
