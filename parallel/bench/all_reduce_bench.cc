// SPDX-License-Identifier: Apache-2.0
// Latency of the host all-reduce under mpirun, shared memory beside messages, as a table:
//   mpirun -n 2 all_reduce_bench
// The shapes are SmolLM2's: one decode row, 16 rows, and a 512-token chunk of a prefill. Checked
// before it is timed. The memcpy of as many bytes stands beside it as a floor.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/check.h"
#include "parallel/mpi_group.h"

namespace tamis {
namespace {

using Clock = std::chrono::steady_clock;

double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

struct Times {
  double median_us = 0;
  double p99_us = 0;
};

Times Summarise(std::vector<double>& samples_us) {
  std::sort(samples_us.begin(), samples_us.end());
  return {samples_us[samples_us.size() / 2], samples_us[samples_us.size() * 99 / 100]};
}

void CheckSum(Group& group, TensorView x) {
  Collectives& collectives = *group.collectives;
  auto* values = x.As<float>();
  std::fill_n(values, x.elements(), static_cast<float>(collectives.rank() + 1));
  collectives.AllReduce(x, ReduceOp::kSum, Stream::Cpu());
  const float want = static_cast<float>(collectives.size() * (collectives.size() + 1)) / 2;
  for (int64_t i = 0; i < x.elements(); ++i) CHECK_EQ(values[i], want);
}

Times TimeAllReduce(Group& group, int64_t items, int repeats) {
  std::vector<float> data(static_cast<size_t>(items));
  const TensorView x(data.data(), {items}, DType::kF32, DeviceKind::kCpu);
  CheckSum(group, x);
  std::fill(data.begin(), data.end(), 0.0f);
  std::vector<double> samples_us;
  for (int i = -repeats / 10; i < repeats; ++i) {  // the negative ones warm up
    const auto start = Clock::now();
    group.collectives->AllReduce(x, ReduceOp::kSum, Stream::Cpu());
    if (i >= 0) samples_us.push_back(MicrosecondsSince(start));
  }
  return Summarise(samples_us);
}

double CopyMicroseconds(int64_t items) {
  std::vector<float> from(static_cast<size_t>(items), 1.0f);
  std::vector<float> to(static_cast<size_t>(items));
  std::vector<double> samples_us;
  for (int i = 0; i < 300; ++i) {
    from[0] = static_cast<float>(i);
    const auto start = Clock::now();
    std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
    samples_us.push_back(MicrosecondsSince(start));
    CHECK_EQ(to[0], from[0]);
  }
  return Summarise(samples_us).median_us;
}

void Run(const MpiEnv& env) {
  struct Size {
    int64_t items;
    int repeats;
  };
  Group shared = MakeMpiGroup(env);
  Group messages = MakeMpiMessageGroup(env);
  const bool speaks = env.world().rank == 0;
  if (speaks) {
    std::printf("%d ranks on %s; microseconds, median (p99)\n", env.world().size,
                env.world().host.c_str());
    std::printf("%10s %22s %22s %10s\n", "floats", "shared memory", "messages", "memcpy");
  }
  for (const Size& size : {Size{576, 3000}, Size{16 * 576, 2000}, Size{512 * 576, 200}}) {
    const Times by_memory = TimeAllReduce(shared, size.items, size.repeats);
    const Times by_messages = TimeAllReduce(messages, size.items, size.repeats);
    Barrier(*shared.control);
    if (!speaks) continue;
    std::printf("%10lld %12.1f (%7.1f) %12.1f (%7.1f) %10.2f\n", static_cast<long long>(size.items),
                by_memory.median_us, by_memory.p99_us, by_messages.median_us, by_messages.p99_us,
                CopyMicroseconds(size.items));
  }
  Barrier(*shared.control);
}

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) {
  const tamis::MpiEnv env(&argc, &argv);
  tamis::Run(env);
  return 0;
}
