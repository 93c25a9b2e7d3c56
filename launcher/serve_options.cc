// SPDX-License-Identifier: Apache-2.0
// The table of options. Names follow vLLM's where it has one.
#include <limits>

#include "launcher/network_options.h"
#include "launcher/option_kinds.h"
#include "launcher/selection_options.h"
#include "launcher/serve_config.h"

namespace tamis {
namespace {

constexpr double kSecondsMax = 86400;

using Config = ServeConfig;

void AddModelOptions(std::vector<ServeOption>* options) {
  options->push_back(Text("model", "a .gguf file or a Hugging Face directory; required",
                          [](Config& c) -> std::string& { return c.model.path; }));
  options->push_back(Text("served-model-name",
                          "name that clients may ask for (default: the "
                          "last part of --model)",
                          [](Config& c) -> std::string& { return c.model.served_name; }));
  options->push_back(Choice("load-format", "how to read the model (default auto)",
                            [](Config& c) -> std::string& { return c.model.load_format; },
                            {"auto", "gguf", "safetensors", "dummy"}));
  options->push_back(Number<uint64_t>(
      "seed", "seed of dummy weights (default 0)",
      [](Config& c) -> uint64_t& { return c.model.seed; }, 0,
      std::numeric_limits<uint64_t>::max()));
  options->push_back(Choice("dtype", "precision of weights and activations (default auto)",
                            [](Config& c) -> std::string& { return c.model.dtype; },
                            {"auto", "float32", "bfloat16", "float16"}));
  options->push_back(Number<int64_t>(
      "max-model-len",
      "longest prompt and completion together, tokens (default 0 = auto: the model's, at most "
      "what the cache holds)",
      [](Config& c) -> int64_t& { return c.model.max_model_len; }, 0, kTokensMax));
}

void AddRankOptions(std::vector<ServeOption>* options) {
  options->push_back(Number<int64_t>(
      "tensor-parallel-size", "ranks that share the model (default 0 = as many as mpirun started)",
      [](Config& c) -> int64_t& { return c.ranks.tensor_parallel_size; }, 0, 4096));
  options->push_back(Choice("device", "where the model runs (default auto)",
                            [](Config& c) -> std::string& { return c.ranks.device; },
                            {"auto", "cpu", "cuda"}));
  options->push_back(Named<bool>(
      "enforce-eager", "run every step kernel by kernel, without CUDA graphs (default false)",
      [](Config& c) -> bool& { return c.ranks.enforce_eager; },
      {{"true", true}, {"false", false}}));
  options->push_back(Number<int64_t>(
      "cpu-threads",
      "threads of matrix products of each CPU rank (default 0 = auto: the host's cores shared "
      "among its ranks)",
      [](Config& c) -> int64_t& { return c.ranks.cpu_threads; }, 0, 1024));
}

void AddCacheOptions(std::vector<ServeOption>* options) {
  options->push_back(Number<int64_t>(
      "block-size", "tokens in a block of the KV cache (default 0 = auto: 64 on GPUs, 16 on CPUs)",
      [](Config& c) -> int64_t& { return c.cache.block_size; }, 0, 1024));
  options->push_back(Number<int64_t>(
      "num-kv-blocks", "blocks of the KV cache (default 0 = auto: from --kv-cache-memory-bytes)",
      [](Config& c) -> int64_t& { return c.cache.num_blocks; }, 0, int64_t{1} << 31));
  options->push_back(
      Bytes("kv-cache-memory-bytes",
            "memory of the KV cache of each rank, as 268435456 or 256MiB (default "
            "0 = auto: what --max-num-seqs at --max-model-len need, at most 512MiB over all "
            "ranks)",
            [](Config& c) -> int64_t& { return c.cache.bytes; }));
  options->push_back(Number<double>(
      "gpu-memory-utilization", "part of each GPU's memory to use, (0, 1] (default 0.9; GPUs only)",
      [](Config& c) -> double& { return c.cache.gpu_memory_utilization; }, 0.01, 1.0));
  options->push_back(Choice("kv-cache-dtype", "precision of the KV cache (default auto)",
                            [](Config& c) -> std::string& { return c.cache.dtype; }, {"auto"}));
}

void AddScheduleOptions(std::vector<ServeOption>* options) {
  options->push_back(Number<int64_t>(
      "max-num-seqs", "sequences that run together (default 16)",
      [](Config& c) -> int64_t& { return c.schedule.max_num_seqs; }, 1, 4096));
  options->push_back(Number<int64_t>(
      "max-num-batched-tokens",
      "tokens in one step, at least --max-num-seqs (default 0 = auto: 512 on CPUs, 8192 on GPUs)",
      [](Config& c) -> int64_t& { return c.schedule.max_num_batched_tokens; }, 0, kTokensMax));
  options->push_back(Number<int64_t>(
      "max-waiting", "requests that may wait; more are refused (default 256)",
      [](Config& c) -> int64_t& { return c.schedule.max_waiting; }, 1, 1 << 20));
}

void AddTimeoutOptions(std::vector<ServeOption>* options) {
  options->push_back(Number<double>(
      "shutdown-timeout", "seconds that running requests get when draining (default 30)",
      [](Config& c) -> double& { return c.timeouts.shutdown_s; }, 0, kSecondsMax));
  options->push_back(Number<double>(
      "heartbeat-timeout", "seconds of silence after which a rank counts as dead (default 5)",
      [](Config& c) -> double& { return c.timeouts.heartbeat_s; }, 1, kSecondsMax));
  options->push_back(Number<double>(
      "step-timeout", "seconds that one step may take (default 60)",
      [](Config& c) -> double& { return c.timeouts.step_s; }, 1, kSecondsMax));
  options->push_back(Number<double>(
      "startup-timeout", "seconds that ranks wait for each other at start-up (default 600)",
      [](Config& c) -> double& { return c.timeouts.startup_s; }, 1, kSecondsMax));
  options->push_back(Choice("log-level", "least level that is logged (default info)",
                            [](Config& c) -> std::string& { return c.log_level; },
                            {"debug", "info", "warning", "error"}));
}

}  // namespace

std::vector<ServeOption> ServeOptions() {
  std::vector<ServeOption> options;
  AddModelOptions(&options);
  AddRankOptions(&options);
  AddCacheOptions(&options);
  AddScheduleOptions(&options);
  AddSelectionOptions(&options);
  AddNetworkOptions(&options);
  AddTimeoutOptions(&options);
  return options;
}

}  // namespace tamis
