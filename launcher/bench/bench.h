// SPDX-License-Identifier: Apache-2.0
// `tamis bench NAME`: one file per benchmark, each with its flags, how they are added to the
// command line, and how it runs. A new one is a member of BenchFlags and a line in bench.cc.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "CLI/CLI.hpp"

namespace tamis {

struct BenchFlags;

class BenchCommands {
 public:
  // Adds `bench` and everything below it to the program's command line.
  explicit BenchCommands(CLI::App* program);
  ~BenchCommands();

  bool parsed() const { return bench_->parsed(); }

  // Runs the one that was asked for. Returns the exit code: 0 done, 1 an error and one line on
  // stderr, 2 wrong usage. argc and argv are for MPI.
  int Run(int* argc, char*** argv) const;

 private:
  struct Command {
    CLI::App* app;
    std::function<int(int* argc, char*** argv)> run;
  };

  template <typename Flags>
  void Add(const char* name, const char* help, Flags* flags, void (*add)(CLI::App*, Flags*),
           int (*run)(const Flags&, int*, char***));

  std::unique_ptr<BenchFlags> flags_;
  CLI::App* bench_;
  std::vector<Command> commands_;
};

}  // namespace tamis
