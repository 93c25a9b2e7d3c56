// SPDX-License-Identifier: Apache-2.0
// Rank 0's loop: requests in, step plans out, token events back.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "parallel/control.h"
#include "runtime/engine/request.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/step_plan.h"
#include "runtime/engine/worker.h"
#include "runtime/model/selection_stats.h"

namespace tamis {

enum class SubmitResult : uint8_t { kAccepted, kQueueFull, kDraining };

// A snapshot for the info RPC; counters are totals since start.
struct EngineStats {
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_free = 0;
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t requests_preempted_total = 0;
  int64_t steps_total = 0;
  SelectionStats selection;
};

// Called around every plan, on the engine thread of every rank: from its arrival until its result
// is there, or on GPUs that of the step before. The watchdog is armed and disarmed here; either may
// be empty.
struct StepHooks {
  std::function<void(const StepPlan& plan)> begin;
  std::function<void()> end;
};

// Submit, Drain and stats may be called from any thread; everything else belongs to the thread
// that calls Run. Scheduler and worker are the engine thread's alone.
class Engine {
 public:
  // `control` and `worker` outlive the engine.
  Engine(const SchedulerConfig& config, Control& control, Worker& worker, StepHooks hooks = {});
  ~Engine();

  // Takes the request and wakes the loop. kQueueFull when max_num_seqs + max_waiting requests are
  // in already. Dies if RequestProblem is not empty: the caller has validated it.
  SubmitResult Submit(std::shared_ptr<Request> request);

  // Refuse new requests; Run returns when what was accepted has finished or `deadline` has passed
  // (what is left is aborted then). May be called again with an earlier deadline.
  void Drain(std::chrono::steady_clock::time_point deadline);
  bool draining() const;

  EngineStats stats() const;

  // Serves until drained, then tells the followers to end. An idle engine sends a heartbeat plan
  // every second.
  void Run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What every other rank runs: executes plans until the leader says shut down.
void FollowLeader(Control& control, Worker& worker, const StepHooks& hooks = {});

}  // namespace tamis
