// SPDX-License-Identifier: Apache-2.0
// Compares ways of sparse decoding with dense decoding over the same prefilled texts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "launcher/lab/lab_probe.h"
#include "launcher/lab/thread_pool.h"
#include "launcher/lab/token_figures.h"

namespace tamis {

constexpr const char* kTextCase = "text";

// A prefilled text up to where decoding begins, and the tokens that follow.
struct Case {
  std::string name;
  std::string kind;                      // kTextCase, or a task's name
  const LabSequence* prefix = nullptr;   // outlives the case
  int64_t begin = 0;                     // tokens of the prefix that are used
  std::vector<int32_t> before = {};      // the last of those, for policies that watch first
  std::vector<int32_t> inputs = {};      // decoded one per step
  std::vector<int32_t> targets = {};     // what should come after each of them
  // Of dense decoding, by RunDense: log-probabilities [steps, V], and the greedy continuation.
  std::vector<float> dense_log_probs = {};
  std::vector<int32_t> dense_free = {};
};

// One way of decoding.
struct Variant {
  std::string name;
  std::string factor;  // what is varied
  AttendPolicy policy = AttendPolicy::kSelection;
  bool forced_only = false;  // sinks, and recents for all the rest of the budget: StreamingLLM
  SelectionConfig config;
};

struct FreeFigures {
  int64_t tokens = 0;         // generated
  int64_t dense_tokens = 0;   // by the dense model
  int64_t common_prefix = 0;  // equal to the dense model's from the start on
};

// Of one variant and case.
struct Outcome {
  TokenFigures figures;
  bool exact = false;        // the most likely token is the target at every step
  bool dense_exact = false;  // the same of the dense model
  double attended = 0.0;     // mean part of the context that a sparse layer attends to
  FreeFigures free;
  std::vector<double> recall;  // [L] mean over the probed steps; empty = not probed
};

struct ExperimentOptions {
  int64_t rows_max = 64;      // rows of a step
  int64_t free_tokens = 0;    // of the free-running comparison; 0 = none
  int64_t probe_steps = 0;    // steps that are probed for recall; 0 = none
  int64_t watch_tokens = 32;  // tokens of the prompt that heavy hitters are gathered from
  std::vector<int32_t> eos_token_ids;
};

// Told how many rows of steps are done, of all.
using ExperimentProgress = std::function<void(int64_t steps_done)>;

class Experiment {
 public:
  Experiment(Lab& lab, ThreadPool& pool, const ExperimentOptions& options,
             ExperimentProgress progress);

  // Fills the dense figures of all cases; before any other run. All inputs of cases that are run
  // together may differ in number.
  void RunDense(std::vector<Case>& cases);

  // Outcomes [variant][case]. Variants that share layout, score, scope and policy run as rows of
  // the same steps, so give them together.
  std::vector<std::vector<Outcome>> Run(const std::vector<Variant>& variants,
                                        const std::vector<Case>& cases);

  // Whether two variants can be rows of one step.
  static bool Together(const Variant& a, const Variant& b);

  int64_t steps_done() const { return steps_done_; }

 private:
  struct Row;
  struct Piece;  // rows that run together
  class Stepper;

  static int64_t Watched(const Piece& piece, const Row& row);
  void RunDenseFree(std::vector<Case>& cases);
  void RunPiece(Piece& piece);
  void RunTeacherForced(Piece& piece);
  void RunProbed(Piece& piece, int64_t num_steps, bool figures);
  std::vector<std::vector<int32_t>> RunFree(Piece& piece);
  void Digest(std::vector<Row*>& rows, const DecodeResult& result);
  std::vector<LabDecodeRow> NextRows(std::vector<Row*>& rows, bool figures);
  void Tick();

  Lab& lab_;
  ThreadPool& pool_;
  ExperimentOptions options_;
  ExperimentProgress progress_;
  int64_t steps_done_ = 0;
};

// The plan of one step of a variant.
SelectionPlan PlanOf(const Variant& variant, int64_t num_tokens, int64_t prompt_len);

}  // namespace tamis
