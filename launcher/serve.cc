// SPDX-License-Identifier: Apache-2.0
// Objects are declared in the order in which they depend on each other, so that they end in the
// reverse order. Signals are caught before MPI starts and acted on by a thread of rank 0; followers
// never look at them: they end when the leader says so or the heartbeat does.
#include "launcher/serve.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "launcher/agree.h"
#include "launcher/front_end.h"
#include "launcher/host_checks.h"
#include "launcher/load_rank.h"
#include "launcher/metrics.h"
#include "launcher/selection_info.h"
#include "launcher/shutdown.h"
#include "launcher/signals.h"
#include "launcher/step_watch.h"
#include "launcher/version.h"
#include "launcher/vital_signs.h"
#include "parallel/groups.h"
#include "parallel/heartbeat.h"
#include "parallel/timed_collectives.h"
#include "parallel/world.h"
#include "runtime/engine/engine.h"
#include "runtime/server/grpc_server.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/tokenizer.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

// An idle engine makes a step a second; a busy one is bound by --step-timeout.
constexpr std::chrono::seconds kPatience{10};
constexpr double kPlanPeriodsS = 3;  // for a plan, on top of --step-timeout

std::chrono::milliseconds Millis(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

void StartLogging(const ServeConfig& config, int rank) {
  auto logger = spdlog::stderr_logger_mt("tamis");
  logger->set_pattern(absl::StrCat("%Y-%m-%d %H:%M:%S.%e %l rank ", rank, ": %v"));
  spdlog::set_default_logger(logger);
  // One rank tells the story; the others speak up when something is wrong.
  const auto level = spdlog::level::from_str(config.log_level);
  spdlog::set_level(rank == 0 ? level : std::max(level, spdlog::level::warn));
  spdlog::flush_on(spdlog::level::debug);
}

std::string ServedName(const ServeConfig& config) {
  if (!config.model.served_name.empty()) return config.model.served_name;
  std::string path = config.model.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.find_last_of('/') + 1);
}

ServedModel Describe(const ServeConfig& config, const LoadedRank& loaded,
                     const Tokenizer& tokenizer) {
  ServedModel served;
  served.name = ServedName(config);
  served.config = loaded.model;
  served.dtype = DTypeName(loaded.dtype);
  served.max_model_len = loaded.scheduler.max_model_len;
  served.max_streams = 2 * (loaded.scheduler.max_num_seqs + loaded.scheduler.max_waiting);
  served.eos_token_ids = loaded.model.eos_token_ids;
  for (const int32_t id : tokenizer.eos_token_ids()) {
    if (std::find(served.eos_token_ids.begin(), served.eos_token_ids.end(), id) ==
        served.eos_token_ids.end()) {
      served.eos_token_ids.push_back(id);
    }
  }
  return served;
}

absl::Status Submit(Engine& engine, const SchedulerConfig& limits,
                    std::shared_ptr<Request> request) {
  if (const std::string problem = RequestProblem(limits, *request); !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  switch (engine.Submit(std::move(request))) {
    case SubmitResult::kAccepted: return absl::OkStatus();
    case SubmitResult::kQueueFull:
      return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", limits.max_num_seqs,
                                                       " requests run and ", limits.max_waiting,
                                                       " wait; try again later"));
    case SubmitResult::kDraining: break;
  }
  return absl::UnavailableError("the server drains and takes no new requests");
}

void FillInfo(const Engine& engine, const LoadedRank& loaded, const World& world,
              Clock::time_point start, v1::GetServerInfoResponse* info) {
  const EngineStats stats = engine.stats();
  info->set_version(kVersion);
  info->set_device(loaded.device.kind == DeviceKind::kCuda ? "cuda" : "cpu");
  info->set_tensor_parallel_size(world.size);
  info->set_kv_blocks_total(stats.kv_blocks_total);
  info->set_kv_blocks_free(stats.kv_blocks_free);
  info->set_kv_block_tokens(loaded.scheduler.block_tokens);
  info->set_requests_running(stats.requests_running);
  info->set_requests_waiting(stats.requests_waiting);
  info->set_requests_preempted_total(stats.requests_preempted_total);
  info->set_steps_total(stats.steps_total);
  info->set_uptime_ms(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count());
  info->set_draining(engine.draining());
  FillSelectionInfo(loaded.scheduler.selection, stats.selection, info);
}

// What watches this rank's steps.
struct Watchers {
  Heartbeat& heartbeat;
  VitalSigns& signs;
  StepWatch steps;
  Metrics* metrics = nullptr;  // rank 0's
};

absl::StatusOr<std::unique_ptr<Metrics>> StartMetrics(const ServeConfig& config,
                                                      const LoadedRank& loaded,
                                                      const Engine& engine,
                                                      const Heartbeat& heartbeat) {
  if (config.server.metrics_port == 0) return nullptr;
  const MetricsOptions options{MetricsHost(config), static_cast<int>(config.server.metrics_port),
                               ServedName(config), loaded.scheduler.max_model_len};
  return Metrics::Start(options, [&] {
    MetricsSnapshot now{engine.stats(), {}};
    for (const auto& [rank, age] : heartbeat.PeerAges()) {
      now.heartbeat_ages_s.emplace_back(rank, std::chrono::duration<double>(age).count());
    }
    return now;
  });
}

// Rank 0 from the loaded model on: the front end around the engine.
absl::Status Lead(const ServeConfig& config, const World& world, Control& control,
                  LoadedRank& loaded, FrontEnd& front, Watchers& watchers, Shutdown& shutdown) {
  const Clock::time_point start = Clock::now();
  Engine engine(loaded.scheduler, control, *loaded.worker, watchers.steps.hooks());
  std::unique_ptr<Metrics> metrics;
  std::optional<GenerateService> service;
  std::unique_ptr<GrpcServer> server;
  const auto listen = [&]() -> absl::Status {
    TAMIS_ASSIGN_OR_RETURN(metrics, StartMetrics(config, loaded, engine, watchers.heartbeat));
    ServiceBackend backend{
        [&](std::shared_ptr<Request> request) {
          return Submit(engine, loaded.scheduler, std::move(request));
        },
        [&](v1::GetServerInfoResponse* info) { FillInfo(engine, loaded, world, start, info); },
        [&] { shutdown.OnRpc(); }};
    if (!front.keys->empty()) {
      backend.authorize = [&](std::string_view text) { return front.keys->Allow(text); };
    }
    if (metrics != nullptr) backend.observer = metrics->observer();
    service.emplace(Describe(config, loaded, *front.tokenizer), *front.tokenizer, backend);
    TAMIS_ASSIGN_OR_RETURN(
        server, GrpcServer::Start(&*service, config.server.host,
                                  static_cast<int>(config.server.port), TlsFilesOf(config)));
    return absl::OkStatus();
  };
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, listen()));
  control.set_timeout(Millis(config.timeouts.step_s + kPlanPeriodsS));
  watchers.metrics = metrics.get();
  watchers.steps.SetMetrics(metrics.get());
  watchers.signs.SetState(RankState::kServing);
  watchers.signs.SetReport([&](bool alive) { server->SetLive(alive); });
  shutdown.Serving(&engine, server.get());
  server->SetServing(true);
  std::cout << "serving on " << config.server.host << ":" << server->port() << std::endl;
  engine.Run();
  shutdown.Ended();
  watchers.signs.SetReport(nullptr);
  watchers.steps.SetMetrics(nullptr);
  watchers.metrics = nullptr;
  // What was sent last must still reach slow clients.
  server->Shutdown(std::chrono::milliseconds(2000));
  spdlog::info("drained");
  return absl::OkStatus();
}

absl::Status ServeRank(const ServeConfig& config, const World& world, Group& group,
                       VitalSigns& signs, Shutdown& shutdown) {
  Control& control = *group.control;
  control.set_timeout(Millis(config.timeouts.startup_s));
  // Before the model is loaded: a rank that dies or stops while loading is noticed as fast.
  HeartbeatOptions options;
  options.timeout = Millis(config.timeouts.heartbeat_s);
  Heartbeat heartbeat(world, control, options);
  if (heartbeat.peers() < world.local_size - 1) spdlog::warn(kNoSharedMemoryWarning);
  Watchers watchers{heartbeat, signs, StepWatch(heartbeat, signs, Millis(config.timeouts.step_s))};
  if (world.rank == 0 && config.server.metrics_port > 0 && !group.collectives->capturable()) {
    group.collectives = TimeAllReduces(std::move(group.collectives), [&watchers](double seconds) {
      if (watchers.metrics != nullptr) watchers.metrics->ObserveAllReduce(seconds);
    });
  }
  FrontEnd front;  // rank 0's
  LoadHooks hooks;
  hooks.before_weights = [&]() -> absl::Status {
    if (world.rank != 0) return absl::OkStatus();
    TAMIS_ASSIGN_OR_RETURN(front, OpenFrontEnd(config));
    return absl::OkStatus();
  };
  hooks.after_weights = [&] {  // collectives on GPUs have no other bound there
    heartbeat.Arm("--startup-timeout passed while kernels were tuned and graphs captured",
                  Clock::now() + Millis(config.timeouts.startup_s));
  };
  TAMIS_ASSIGN_OR_RETURN(LoadedRank loaded, LoadRank(config, world, group, hooks));
  heartbeat.Disarm();
  if (world.rank == 0) return Lead(config, world, control, loaded, front, watchers, shutdown);
  TAMIS_RETURN_IF_ERROR(AgreeOnStatus(control, absl::OkStatus()));
  control.set_timeout(Millis(config.timeouts.step_s + kPlanPeriodsS));
  signs.SetState(RankState::kServing);
  FollowLeader(control, *loaded.worker, watchers.steps.hooks());
  return absl::OkStatus();
}

}  // namespace

int RunServe(const ServeConfig& config, int* argc, char*** argv) {
  CatchSignals({SIGUSR1, SIGTERM, SIGINT});
  const MpiEnv env(argc, argv);
  const World& world = env.world();
  StartLogging(config, world.rank);
  spdlog::info("tamis {} on {} rank(s)", kVersion, world.size);
  for (const std::string& line : Describe(config)) spdlog::info("{}", line);
  if (world.rank == 0) {
    for (const std::string& warning : config.warnings) spdlog::warn("{}", warning);
  }

  if (const std::string warning = LockedMemoryWarning(); !warning.empty()) spdlog::warn(warning);
  // One rank speaks for its host.
  VitalSigns signs(world.local_rank == 0 ? config.server.heartbeat_file : "", kPatience);
  Shutdown shutdown(Millis(config.timeouts.shutdown_s), signs);
  std::optional<SignalThread> signals;
  if (world.rank == 0) {
    signals.emplace([&](int signal) { shutdown.OnSignal(signal); });
  }
  Group group = env.initialised() ? MakeMpiGroup(env) : MakeSelfGroup();
  const absl::Status status = ServeRank(config, world, group, signs, shutdown);
  if (status.ok()) return 0;
  if (world.rank == 0) {
    std::cerr << "tamis: " << status.message() << std::endl;
  }
  return 1;
}

}  // namespace tamis
