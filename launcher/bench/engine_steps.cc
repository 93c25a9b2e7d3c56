// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/engine_steps.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

// The first sequence is a step or two ahead of the others. Each gets this many tokens beyond what
// is measured.
constexpr int kSlackSteps = 8;

// A token, and the step that brought it.
struct TokenTime {
  Clock::time_point when;
  std::optional<StepTime> step;  // on GPUs
};

// When each sequence got its tokens. Written by the engine's thread.
class TokenTimes {
 public:
  TokenTimes(const Worker& worker, int64_t batch, int tokens_each)
      : worker_(worker), times_(static_cast<size_t>(batch)) {
    for (auto& times : times_) times.reserve(static_cast<size_t>(tokens_each));
  }

  void OnToken(size_t sequence, const TokenEvent& event) {
    TokenTime time{Clock::now(), std::nullopt};
    // The worker belongs to this thread; its last time is that of the step just waited for.
    if (!worker_.step_times().empty()) time.step = worker_.step_times().back();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (event.token_id >= 0) times_[sequence].push_back(time);
    if (event.finish == FinishReason::kNone) return;
    ++ended_;
    changed_.notify_one();
  }

  // False if that many have not ended by then.
  bool WaitForEnded(size_t count, Clock::time_point deadline) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return ended_ >= count; });
  }

  // After all have ended.
  const std::vector<std::vector<TokenTime>>& times() const { return times_; }

 private:
  const Worker& worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<TokenTime>> times_;
  size_t ended_ = 0;
};

int TokensEach(const StepRun& run) { return 1 + run.warmup + run.steps + kSlackSteps; }

std::vector<std::shared_ptr<Request>> MakeRequests(const StepRun& run, TokenTimes* times) {
  std::vector<std::shared_ptr<Request>> requests;
  const int64_t prompt_len = run.context - TokensEach(run);
  for (int64_t i = 0; i < run.batch; ++i) {
    auto request = std::make_shared<Request>();
    request->id = absl::StrCat("bench-", i);
    request->prompt.resize(static_cast<size_t>(prompt_len));
    for (int64_t p = 0; p < prompt_len; ++p) {
      request->prompt[static_cast<size_t>(p)] =
          static_cast<int32_t>((p * 7919 + i * 104729) % run.vocab_size);
    }
    request->sampling.temperature = 0.0f;
    request->sampling.max_tokens = TokensEach(run);
    request->sampling.ignore_eos = true;
    request->selection.mode = run.mode;
    request->arrival = Clock::now();
    request->on_token = [times, i](const TokenEvent& event) {
      times->OnToken(static_cast<size_t>(i), event);
    };
    requests.push_back(std::move(request));
  }
  return requests;
}

// The steps of the sequence that began last, from its first decoding step after warm-up on.
absl::StatusOr<StepTimes> Evaluate(const StepRun& run, const TokenTimes& all) {
  const auto began_last =
      std::max_element(all.times().begin(), all.times().end(), [](const auto& a, const auto& b) {
        return a.empty() || (!b.empty() && a[0].when < b[0].when);
      });
  const size_t first = static_cast<size_t>(run.warmup);
  const size_t last = first + static_cast<size_t>(run.steps);
  if (began_last->size() <= last) return absl::InternalError("a sequence ended early");
  for (const auto& times : all.times()) {
    if (times.empty() || times.back().when < (*began_last)[last].when) {
      return absl::InternalError("the sequences did not decode together");
    }
  }
  StepTimes result;
  for (size_t i = first; i < last; ++i) {
    const std::chrono::duration<double, std::milli> took =
        (*began_last)[i + 1].when - (*began_last)[i].when;
    result.ms.push_back(took.count());
    if (const std::optional<StepTime>& step = (*began_last)[i + 1].step) {
      result.gap_us.push_back(step->gap * 1e3);
      result.device_ms.push_back(step->work);
    }
  }
  // Token i is sampled with prompt + i tokens in the cache.
  result.mean_context = static_cast<double>(run.context - TokensEach(run)) +
                        static_cast<double>(first + last + 1) / 2;
  return result;
}

}  // namespace

void StepGate::Close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
}

void StepGate::Open() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = false;
  opened_.notify_all();
}

void StepGate::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  CHECK(opened_.wait_for(lock, std::chrono::minutes(1), [this] { return !closed_; }));
}

int64_t ContextMin(const StepRun& run) { return TokensEach(run) + 1; }

absl::StatusOr<StepTimes> TimeDecodeSteps(Engine& engine, const Worker& worker, StepGate& gate,
                                          const StepRun& run) {
  const Clock::time_point deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(run.timeout);
  TokenTimes times(worker, run.batch, TokensEach(run));
  const std::vector<std::shared_ptr<Request>> requests = MakeRequests(run, &times);
  gate.Close();
  for (const std::shared_ptr<Request>& request : requests) {
    CHECK(engine.Submit(request) == SubmitResult::kAccepted);
  }
  gate.Open();
  const size_t count = requests.size();
  if (times.WaitForEnded(count, deadline)) return Evaluate(run, times);
  for (const std::shared_ptr<Request>& request : requests) request->cancelled = true;
  CHECK(times.WaitForEnded(count, Clock::now() + std::chrono::seconds(60)))
      << "the engine does not end its requests";
  return absl::DeadlineExceededError(
      absl::StrCat(run.steps + run.warmup, " steps took more than ", run.timeout.count(), " s"));
}

}  // namespace tamis
