// SPDX-License-Identifier: Apache-2.0
// Rows are (variant, case) pairs; everything that shares a layout of layers shares steps.
#include "launcher/lab/experiment.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

// A finished row in a step whose rows must all stay: decodes on, and nobody looks.
int32_t InputAt(const Case& text, size_t step) {
  return step < text.inputs.size() ? text.inputs[step] : text.targets.back();
}

double AttendedPart(const SelectionPlan& plan, int64_t num_tokens) {
  if (!plan.sparse()) return 1.0;
  const int64_t listed = std::min(plan.k, plan.candidate_end - plan.candidate_begin);
  const int64_t attended = plan.sink_end + listed + num_tokens - plan.tail_begin;
  return static_cast<double>(attended) / static_cast<double>(num_tokens);
}

SelectionConfig LayoutOf(const Variant& variant) {
  SelectionConfig layout = variant.config;
  layout.candidates = SelectionCandidates::kHistory;
  layout.budget = {1 << 20, 0.0};
  layout.sink_tokens = layout.recent_tokens = layout.max_selected_tokens = 0;
  return layout;
}

}  // namespace

struct Experiment::Row {
  const Variant* variant = nullptr;
  const Case* text = nullptr;
  Outcome* outcome = nullptr;
  LabSequence sequence = {};
  size_t step = 0;      // inputs decoded
  size_t digested = 0;  // and compared
};

struct Experiment::Piece {
  const Variant& layout;  // what all rows have in common
  std::vector<Row> rows;
};

// Steps of a policy, through the plain decoder where that can do it.
class Experiment::Stepper {
 public:
  Stepper(Lab& lab, ThreadPool& pool, const Variant& variant, int64_t rows_max) {
    const SelectionConfig layout = LayoutOf(variant);
    if (variant.policy == AttendPolicy::kSelection) {
      decoder_.emplace(lab, LabLayers(layout, lab.model().num_layers), rows_max, false);
    } else {
      probe_.emplace(lab, pool, layout, variant.policy, rows_max);
    }
  }
  DecodeResult Step(std::span<const LabDecodeRow> rows) {
    if (probe_) return probe_->Step(rows);
    decoder_->Launch(rows);
    return decoder_->Wait();
  }

 private:
  std::optional<LabDecoder> decoder_;
  std::optional<LabProbe> probe_;
};

int64_t Experiment::Watched(const Piece& piece, const Row& row) {
  const bool watch = piece.layout.policy == AttendPolicy::kHeavyHitters;
  return watch ? static_cast<int64_t>(row.text->before.size()) : 0;
}

SelectionPlan PlanOf(const Variant& variant, int64_t num_tokens, int64_t prompt_len) {
  const SelectionConfig& config = variant.config;
  const SelectionPlan plan =
      PlanSelection(config, SelectionMode::kOn, config.budget, num_tokens, prompt_len);
  if (!variant.forced_only || !plan.sparse()) return plan;
  // All places but the sinks' go to the latest tokens. k is 1 because 0 means dense; nothing
  // competes, so nothing is listed.
  const int64_t places = plan.k + plan.sink_end + num_tokens - plan.tail_begin;
  const auto tail = static_cast<int32_t>(num_tokens - (places - plan.sink_end));
  return {plan.sink_end, plan.sink_end, 1, plan.sink_end, tail};
}

bool Experiment::Together(const Variant& a, const Variant& b) {
  const SelectionConfig x = LayoutOf(a), y = LayoutOf(b);
  return a.policy == b.policy && x.filter_layers == y.filter_layers &&
         x.wait_layers == y.wait_layers && x.score == y.score && x.lse == y.lse &&
         x.scope == y.scope;
}

Experiment::Experiment(Lab& lab, ThreadPool& pool, const ExperimentOptions& options,
                       ExperimentProgress progress)
    : lab_(lab), pool_(pool), options_(options), progress_(std::move(progress)) {}

void Experiment::Tick() {
  ++steps_done_;
  if (progress_) progress_(steps_done_);
}

std::vector<LabDecodeRow> Experiment::NextRows(std::vector<Row*>& rows, bool figures) {
  std::vector<LabDecodeRow> next;
  for (Row* row : rows) {
    const int64_t num_tokens = row->sequence.num_cached + 1;
    const SelectionPlan plan = PlanOf(*row->variant, num_tokens, row->text->begin + 1);
    if (figures && row->step < row->text->inputs.size()) {
      row->outcome->attended += AttendedPart(plan, num_tokens);
    }
    next.push_back({&row->sequence, InputAt(*row->text, row->step), plan});
    ++row->step;
  }
  return next;
}

void Experiment::Digest(std::vector<Row*>& rows, const DecodeResult& result) {
  const int64_t vocab = lab_.model().vocab_size;
  pool_.For(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    Row& row = *rows[static_cast<size_t>(i)];
    const size_t step = row.digested++;
    if (step >= row.text->inputs.size()) return;
    const std::span<const float> dense(row.text->dense_log_probs);
    row.outcome->figures.Add(CompareToken(
        result.row(static_cast<size_t>(i), vocab),
        dense.subspan(step * static_cast<size_t>(vocab), static_cast<size_t>(vocab)),
        row.text->targets[step]));
  });
}

void Experiment::RunDense(std::vector<Case>& cases) {
  const auto vocab = static_cast<size_t>(lab_.model().vocab_size);
  const auto max_rows = static_cast<size_t>(options_.rows_max);
  for (size_t first = 0; first < cases.size(); first += max_rows) {
    const size_t count = std::min(max_rows, cases.size() - first);
    LabDecoder decoder(lab_, LabLayers({}, lab_.model().num_layers), static_cast<int64_t>(count),
                       /*copy_logits=*/true);
    std::vector<LabSequence> sequences;
    for (size_t i = first; i < first + count; ++i) {
      sequences.push_back(lab_.Fork(*cases[i].prefix, cases[i].begin));
    }
    for (size_t step = 0;; ++step) {
      std::vector<size_t> active;
      std::vector<LabDecodeRow> rows;
      for (size_t i = first; i < first + count; ++i) {
        if (step >= cases[i].inputs.size()) continue;
        active.push_back(i);
        rows.push_back({&sequences[i - first], cases[i].inputs[step]});
      }
      if (rows.empty()) break;
      decoder.Launch(rows);
      const DecodeResult result = decoder.Wait();
      for (size_t i : active) cases[i].dense_log_probs.resize((step + 1) * vocab);
      pool_.For(static_cast<int64_t>(active.size()), [&](int64_t r) {
        std::vector<float>& all = cases[active[static_cast<size_t>(r)]].dense_log_probs;
        LogSoftmax(result.row(static_cast<size_t>(r), static_cast<int64_t>(vocab)),
                   std::span(all).subspan(step * vocab));
      });
      Tick();
    }
    for (LabSequence& sequence : sequences) lab_.Free(sequence);
  }
  if (options_.free_tokens > 0) RunDenseFree(cases);
}

void Experiment::RunDenseFree(std::vector<Case>& cases) {
  const Variant dense;
  std::vector<size_t> texts;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].kind == kTextCase) texts.push_back(i);
  }
  const auto rows_max = static_cast<size_t>(options_.rows_max);
  for (size_t first = 0; first < texts.size(); first += rows_max) {
    const size_t end = std::min(texts.size(), first + rows_max);
    Piece piece{dense, {}};
    for (size_t i = first; i < end; ++i) {
      piece.rows.push_back({&dense, &cases[texts[i]], nullptr});
    }
    std::vector<std::vector<int32_t>> generated = RunFree(piece);
    for (size_t i = first; i < end; ++i) {
      cases[texts[i]].dense_free = std::move(generated[i - first]);
    }
  }
}

void Experiment::RunTeacherForced(Piece& piece) {
  LabDecoder decoder(lab_, LabLayers(LayoutOf(piece.layout), lab_.model().num_layers),
                     static_cast<int64_t>(piece.rows.size()), /*copy_logits=*/true);
  for (Row& row : piece.rows) row.sequence = lab_.Fork(*row.text->prefix, row.text->begin);
  std::vector<Row*> launched, waiting;
  DecodeResult result;
  while (true) {
    launched.clear();
    for (Row& row : piece.rows) {
      if (row.step < row.text->inputs.size()) launched.push_back(&row);
    }
    if (!launched.empty()) decoder.Launch(NextRows(launched, true));
    if (!waiting.empty()) Digest(waiting, result);
    if (launched.empty()) break;
    result = decoder.Wait();
    waiting = launched;
    Tick();
  }
  for (Row& row : piece.rows) lab_.Free(row.sequence);
}

// Decodes the watched part of the prompt densely, then num_steps inputs. Without `figures` only
// recall is kept.
void Experiment::RunProbed(Piece& piece, int64_t num_steps, bool figures) {
  LabProbe probe(lab_, pool_, LayoutOf(piece.layout), piece.layout.policy,
                 static_cast<int64_t>(piece.rows.size()));
  std::vector<Row*> rows;
  const int64_t watched = Watched(piece, piece.rows.front());
  for (Row& row : piece.rows) {
    CHECK_EQ(Watched(piece, row), watched) << "watched tokens of cases that run together";
    row.step = row.digested = 0;
    row.sequence = lab_.Fork(*row.text->prefix, row.text->begin - watched);
    rows.push_back(&row);
  }
  for (int64_t step = 0; step < watched; ++step) {
    std::vector<LabDecodeRow> next;
    for (Row* row : rows) {
      next.push_back({&row->sequence, row->text->before[static_cast<size_t>(step)]});
    }
    probe.Step(next);
    Tick();
  }
  const auto num_layers = static_cast<size_t>(lab_.model().num_layers);
  for (Row* row : rows) row->outcome->recall.assign(num_layers, 0.0);
  for (int64_t step = 0; step < num_steps; ++step) {
    const DecodeResult result = probe.Step(NextRows(rows, figures));
    if (figures) Digest(rows, result);
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto steps = std::min(static_cast<size_t>(num_steps), rows[r]->text->inputs.size());
      if (static_cast<size_t>(step) >= steps) continue;
      for (size_t layer = 0; layer < num_layers; ++layer) {
        rows[r]->outcome->recall[layer] +=
            probe.recall(r, static_cast<int64_t>(layer)) / static_cast<double>(steps);
      }
    }
    Tick();
  }
  for (Row* row : rows) lab_.Free(row->sequence);
}

// Greedy continuations of each row, up to an end-of-sequence token.
std::vector<std::vector<int32_t>> Experiment::RunFree(Piece& piece) {
  Stepper stepper(lab_, pool_, piece.layout, static_cast<int64_t>(piece.rows.size()));
  std::vector<LabDecodeRow> next;
  for (Row& row : piece.rows) {
    row.sequence = lab_.Fork(*row.text->prefix, row.text->begin - Watched(piece, row));
  }
  for (int64_t step = 0; step < Watched(piece, piece.rows.front()); ++step) {
    next.clear();
    for (Row& row : piece.rows) {
      next.push_back({&row.sequence, row.text->before[static_cast<size_t>(step)]});
    }
    stepper.Step(next);
    Tick();
  }
  std::vector<std::vector<int32_t>> generated(piece.rows.size());
  std::vector<int32_t> latest;
  for (const Row& row : piece.rows) latest.push_back(row.text->inputs.front());
  const std::vector<int32_t>& eos = options_.eos_token_ids;
  for (int64_t step = 0; step < options_.free_tokens; ++step) {
    next.clear();
    for (size_t r = 0; r < piece.rows.size(); ++r) {
      Row& row = piece.rows[r];
      const int64_t num_tokens = row.sequence.num_cached + 1;
      next.push_back(
          {&row.sequence, latest[r], PlanOf(*row.variant, num_tokens, row.text->begin + 1)});
    }
    const DecodeResult result = stepper.Step(next);
    for (size_t r = 0; r < piece.rows.size(); ++r) {
      // Rows that have ended stay in the step, and their tokens do not count.
      latest[r] = result.greedy[r];
      std::vector<int32_t>& tokens = generated[r];
      if (tokens.empty() || std::find(eos.begin(), eos.end(), tokens.back()) == eos.end()) {
        tokens.push_back(latest[r]);
      }
    }
    Tick();
  }
  for (Row& row : piece.rows) lab_.Free(row.sequence);
  return generated;
}

void Experiment::RunPiece(Piece& piece) {
  const bool probed = piece.layout.policy != AttendPolicy::kSelection;
  size_t steps = 0;
  for (const Row& row : piece.rows) steps = std::max(steps, row.text->inputs.size());
  if (probed) {
    RunProbed(piece, static_cast<int64_t>(steps), /*figures=*/true);
  } else {
    RunTeacherForced(piece);
    const auto probes = std::min(static_cast<int64_t>(steps), options_.probe_steps);
    if (probes > 0) RunProbed(piece, probes, /*figures=*/false);
  }
  for (Row& row : piece.rows) {
    Outcome& outcome = *row.outcome;
    const auto tokens = static_cast<int64_t>(row.text->inputs.size());
    outcome.attended /= static_cast<double>(tokens);
    outcome.exact = outcome.figures.hits == tokens;
    outcome.dense_exact = outcome.figures.dense_hits == tokens;
  }
  std::erase_if(piece.rows, [](const Row& row) { return row.text->kind != kTextCase; });
  if (options_.free_tokens == 0 || piece.rows.empty()) return;
  const std::vector<std::vector<int32_t>> generated = RunFree(piece);
  for (size_t r = 0; r < piece.rows.size(); ++r) {
    const std::vector<int32_t>& tokens = generated[r];
    const std::vector<int32_t>& dense = piece.rows[r].text->dense_free;
    const auto end = std::mismatch(tokens.begin(), tokens.end(), dense.begin(), dense.end()).first;
    piece.rows[r].outcome->free = {static_cast<int64_t>(tokens.size()),
                                   static_cast<int64_t>(dense.size()), end - tokens.begin()};
  }
}

std::vector<std::vector<Outcome>> Experiment::Run(const std::vector<Variant>& variants,
                                                  const std::vector<Case>& cases) {
  std::vector<std::vector<Outcome>> outcomes(variants.size(), std::vector<Outcome>(cases.size()));
  std::vector<bool> taken(variants.size(), false);
  for (size_t first = 0; first < variants.size(); ++first) {
    if (taken[first]) continue;
    std::vector<Row> rows;
    for (size_t v = first; v < variants.size(); ++v) {
      if (taken[v] || !Together(variants[first], variants[v])) continue;
      taken[v] = true;
      for (size_t c = 0; c < cases.size(); ++c) {
        rows.push_back({&variants[v], &cases[c], &outcomes[v][c]});
      }
    }
    const auto rows_max = static_cast<size_t>(options_.rows_max);
    for (size_t begin = 0; begin < rows.size(); begin += rows_max) {
      const size_t end = std::min(rows.size(), begin + rows_max);
      Piece piece{variants[first], std::vector<Row>(rows.begin() + static_cast<int64_t>(begin),
                                                    rows.begin() + static_cast<int64_t>(end))};
      RunPiece(piece);
    }
  }
  return outcomes;
}

}  // namespace tamis
