// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/trace.h"
#include "runtime/engine/selection_counts.h"

namespace tamis {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kHeartbeatInterval{1};

}  // namespace

struct Engine::State {
  State(const SchedulerConfig& config_in, Control& control_in, Worker& worker_in,
        StepHooks hooks_in)
      : config(config_in),
        scheduler(config_in),
        control(control_in),
        worker(worker_in),
        hooks(std::move(hooks_in)) {}

  bool TakeRequests();
  void ScheduleStep();
  void RunStep();
  // Commits steps until this many are in flight.
  void Collect(int64_t steps_left);
  void Broadcast();
  void PublishStats();

  const SchedulerConfig config;

  // The engine thread's alone.
  Scheduler scheduler;
  Control& control;
  Worker& worker;
  StepHooks hooks;
  StepPlan plan;
  std::string plan_bytes;
  std::vector<std::shared_ptr<Request>> arrivals;
  bool drain_expired = false;

  mutable std::mutex mutex;
  std::condition_variable wake;
  // Guarded by mutex.
  std::vector<std::shared_ptr<Request>> inbox;
  int64_t num_in_scheduler = 0;  // requests, as of the last step
  bool draining = false;
  steady_clock::time_point drain_deadline = steady_clock::time_point::max();
  EngineStats stats;
};

Engine::Engine(const SchedulerConfig& config, Control& control, Worker& worker, StepHooks hooks)
    : state_(std::make_unique<State>(config, control, worker, std::move(hooks))) {
  CHECK_EQ(control.rank(), 0) << "the engine runs on rank 0";
  state_->PublishStats();
}

Engine::~Engine() = default;

SubmitResult Engine::Submit(std::shared_ptr<Request> request) {
  const std::string problem = RequestProblem(state_->config, *request);
  CHECK(problem.empty()) << "request " << request->id << " was not validated: " << problem;
  {
    const std::scoped_lock lock(state_->mutex);
    if (state_->draining) return SubmitResult::kDraining;
    const int64_t num_requests =
        state_->num_in_scheduler + static_cast<int64_t>(state_->inbox.size());
    if (num_requests >= state_->config.max_num_seqs + state_->config.max_waiting) {
      return SubmitResult::kQueueFull;
    }
    state_->inbox.push_back(std::move(request));
  }
  state_->wake.notify_one();
  return SubmitResult::kAccepted;
}

void Engine::Drain(steady_clock::time_point deadline) {
  {
    const std::scoped_lock lock(state_->mutex);
    state_->draining = true;
    state_->drain_deadline = std::min(state_->drain_deadline, deadline);
  }
  state_->wake.notify_one();
}

bool Engine::draining() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->draining;
}

EngineStats Engine::stats() const {
  const std::scoped_lock lock(state_->mutex);
  EngineStats stats = state_->stats;
  stats.requests_waiting += static_cast<int64_t>(state_->inbox.size());
  return stats;
}

void Engine::Run() {
  while (state_->TakeRequests()) {
    if (state_->drain_expired) state_->scheduler.AbortAll("the server shuts down");
    state_->scheduler.DropEnded(steady_clock::now());
    state_->ScheduleStep();
    state_->RunStep();
  }
  // Nobody waits for a token any more, but the ranks still compare what they sampled last.
  do {
    state_->ScheduleStep();
    CHECK(state_->plan.kind == PlanKind::kIdle) << "requests are left";
    const bool last = state_->worker.steps_in_flight() == 0 && !state_->scheduler.has_unconfirmed();
    if (last) state_->plan.kind = PlanKind::kShutdown;
    state_->RunStep();
  } while (state_->plan.kind != PlanKind::kShutdown);
}

// Moves what was submitted to the scheduler. Waits only when there is nothing to run, and then no
// longer than until the next heartbeat. False when drained.
bool Engine::State::TakeRequests() {
  {
    std::unique_lock lock(mutex);
    if (!scheduler.has_work()) {
      wake.wait_for(lock, kHeartbeatInterval, [this] { return !inbox.empty() || draining; });
    }
    if (draining && inbox.empty() && !scheduler.has_work()) return false;
    drain_expired = draining && steady_clock::now() >= drain_deadline;
    num_in_scheduler += static_cast<int64_t>(inbox.size());
    std::swap(arrivals, inbox);
  }
  for (std::shared_ptr<Request>& request : arrivals) scheduler.Add(std::move(request));
  arrivals.clear();
  return true;
}

void Engine::State::ScheduleStep() {
  const TraceRange range("schedule step");
  if (worker.steps_in_flight() > 0 && scheduler.WouldPreempt()) {
    if (hooks.begin) hooks.begin(plan);
    Collect(0);
    if (hooks.end) hooks.end();
  }
  scheduler.Schedule(&plan);
}

// On a GPU the step before runs while this one is scheduled and launched; its results come after.
// Behind an idle plan nothing is left in flight: the next may be a second away.
void Engine::State::RunStep() {
  if (hooks.begin) hooks.begin(plan);
  Broadcast();
  worker.Launch(plan);
  Collect(plan.kind == PlanKind::kRun ? worker.steps_ahead() : 0);
  if (hooks.end) hooks.end();
  PublishStats();
}

void Engine::State::Collect(int64_t steps_left) {
  while (worker.steps_in_flight() > steps_left) {
    const StepResult result = worker.Wait();
    const TraceRange range("commit step");
    scheduler.Commit(result);
  }
}

void Engine::State::Broadcast() {
  EncodeStepPlan(plan, &plan_bytes);
  control.Broadcast(&plan_bytes);
}

void Engine::State::PublishStats() {
  const std::scoped_lock lock(mutex);
  stats.kv_blocks_total = scheduler.config().num_blocks;
  stats.kv_blocks_free = scheduler.blocks_free();
  stats.requests_running = static_cast<int64_t>(scheduler.running().size());
  stats.requests_waiting = static_cast<int64_t>(scheduler.waiting().size());
  stats.requests_preempted_total = scheduler.num_preempted_total();
  stats.steps_total = plan.kind == PlanKind::kRun ? stats.steps_total + 1 : stats.steps_total;
  CountSelection(plan, &stats.selection.counts);
  stats.selection.measures = worker.selection_measures();
  num_in_scheduler = stats.requests_running + stats.requests_waiting;
}

void FollowLeader(Control& control, Worker& worker, const StepHooks& hooks) {
  StepPlan plan;
  std::string bytes;
  for (int64_t step_id = 0; plan.kind != PlanKind::kShutdown; ++step_id) {
    control.Broadcast(&bytes);
    CHECK(DecodeStepPlan(bytes, &plan)) << "plan " << step_id << " arrived damaged";
    CHECK_EQ(plan.step_id, step_id) << "a plan was lost";
    if (hooks.begin) hooks.begin(plan);
    worker.Launch(plan);
    const int64_t steps_left = plan.kind == PlanKind::kRun ? worker.steps_ahead() : 0;
    while (worker.steps_in_flight() > steps_left) worker.Wait();
    if (hooks.end) hooks.end();
  }
}

}  // namespace tamis
