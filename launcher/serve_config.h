// SPDX-License-Identifier: Apache-2.0
// What `tamis serve` can be told: one struct, and one table of options that drives the flags, the
// YAML keys, --help, the checks and the list printed at start-up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/selection_config.h"

namespace tamis {

// 0 in a number means "chosen at start-up" where the option's help says auto.
struct ServeConfig {
  struct Model {
    std::string path;
    std::string served_name;  // empty = the path's last part
    std::string load_format = "auto";
    std::string dtype = "auto";
    uint64_t seed = 0;  // of dummy weights
    int64_t max_model_len = 0;
  } model;
  struct Ranks {
    int64_t tensor_parallel_size = 0;
    std::string device = "auto";
    bool enforce_eager = false;
    int64_t cpu_threads = 0;  // of each rank
  } ranks;
  struct Cache {
    int64_t block_size = 0;  // tokens; 0: BlockTokens() decides
    int64_t num_blocks = 0;
    int64_t bytes = 0;                    // of each rank
    double gpu_memory_utilization = 0.0;  // 0 = not given
    std::string dtype = "auto";
  } cache;
  struct Schedule {
    int64_t max_num_seqs = 16;
    int64_t max_num_batched_tokens = 0;
    int64_t max_waiting = 256;
  } schedule;
  SelectionConfig selection;
  struct Server {
    std::string host = "127.0.0.1";
    int64_t port = 50051;
    std::string ssl_certfile;
    std::string ssl_keyfile;
    std::string ssl_ca_certs;
    std::string api_key_file;
    bool insecure = false;
    int64_t metrics_port = 0;  // 0 = none
    std::string metrics_host;  // empty = host
    std::string heartbeat_file;
  } server;
  struct Timeouts {
    double shutdown_s = 30;
    double heartbeat_s = 5;
    double step_s = 60;
    double startup_s = 600;
  } timeouts;
  std::string log_level = "info";
  // What the configuration file says and nothing heeds; logged at start.
  std::vector<std::string> warnings;
};

// Units, default and limits stand in `help`.
struct ServeOption {
  std::string name;  // --name on the command line; `name` or `na_me` in YAML
  std::string help;
  // Returns the problem, or "".
  std::function<std::string(const std::string& value, ServeConfig* config)> set;
  std::function<std::string(const ServeConfig& config)> show;
  bool is_switch = false;  // a flag without a value means "true"
};

std::vector<ServeOption> ServeOptions();

using NamedValues = std::vector<std::pair<std::string, std::string>>;

// The keys and values of a YAML or JSON file (JSON is YAML): one flat map of scalars and lists of
// scalars, which become text with commas.
absl::StatusOr<NamedValues> ReadYaml(const std::string& path);

// Applies the file's values (ours or OmniKV's: omnikv_keys.h), then the flags. Appends every
// problem, one sentence each.
ServeConfig MakeServeConfig(const NamedValues& yaml, const NamedValues& flags,
                            std::vector<std::string>* problems);

// "name: value" for every option.
std::vector<std::string> Describe(const ServeConfig& config);

}  // namespace tamis
