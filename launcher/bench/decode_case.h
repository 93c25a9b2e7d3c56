// SPDX-License-Identifier: Apache-2.0
// One row of `tamis bench decode`: what is asked, what has to move, and what came of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/shard.h"
#include "runtime/model/config.h"
#include "runtime/model/selection_config.h"

namespace tamis {

struct DecodeCase {
  int64_t batch = 0;    // sequences
  int64_t context = 0;  // tokens of each, at the last step
};

// "1x131072,8x32768": batch x context, separated by commas. A context may end in K (1024).
absl::StatusOr<std::vector<DecodeCase>> ParseDecodeCases(const std::string& text);

// Bytes that one step of one rank must at least read. Weights: all but the embedding table, of
// which a step reads a row per sequence (a tied one counts, as the head). Keys and values: of all
// tokens in dense and filter layers, of the attended ones in sparse layers. A filter layer that
// attends to its own selection reads all keys, and the values of the attended.
struct StepBytes {
  double weights = 0;
  double kv = 0;
  double total() const { return weights + kv; }
};

// `attended` is the number of tokens that a sparse layer attends to; 0 = every layer is dense.
StepBytes CountStepBytes(const ModelConfig& model, const ModelShard& shard, DType dtype,
                         const SelectionLayers& layers, int64_t batch, double context,
                         double attended);

// Of a sorted or unsorted, non-empty list: the value below which `part` of them lie.
double Quantile(std::vector<double> values, double part);

}  // namespace tamis
