// SPDX-License-Identifier: Apache-2.0
// Latency of collectives on GPUs inside a CUDA graph, under mpirun, a GPU for every rank:
//   mpirun -n 2 cuda_collectives_bench [TABLE]
// Own peer-to-peer kernels beside NCCL, microseconds per call, the slowest rank's median. Results
// are compared with NCCL's before they are timed. TABLE gets the lines that
// `tamis bench decode --simulate-rank` reads.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/check_cuda.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "parallel/cuda_group.h"
#include "parallel/top_k_exchange.h"

namespace tamis {
namespace {

constexpr int64_t kHidden = 4096;
constexpr int kCallsPerGraph = 40;
constexpr DType kDType = DType::kBF16;

// A device tensor with random contents: bf16 in (-2, 2), or integers below `below`.
struct DeviceTensor {
  DeviceTensor(Shape shape, DType dtype)
      : memory(MemoryKind::kCuda,
               std::max<size_t>(16, static_cast<size_t>(shape.elements()) * DTypeBytes(dtype)),
               "bench"),
        view(memory.View(shape, dtype)) {}
  void Put(const void* data, const Stream& stream) const {
    CopyBytes(view.data, DeviceKind::kCuda, data, DeviceKind::kCpu, view.bytes(), stream);
    stream.Synchronize();
  }
  std::string Get(const Stream& stream) const {
    std::string bytes(view.bytes(), '\0');
    CopyBytes(bytes.data(), DeviceKind::kCpu, view.data, DeviceKind::kCuda, bytes.size(), stream);
    stream.Synchronize();
    return bytes;
  }

  Buffer memory;
  TensorView view;
};

std::vector<uint16_t> RandomHalves(int64_t count, int seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (uint16_t& value : values) {  // sign, exponents 2^-8 to 2^0, mantissa
    const uint32_t bits = random();
    value = static_cast<uint16_t>((bits & 0x807f) | (119 + (bits >> 16) % 8) << 7);
  }
  return values;
}

class Bench {
 public:
  explicit Bench(const MpiEnv& env)
      : env_(env), own_(OnCuda(MakeMpiGroup(env), CudaTransport::kIpc)) {
    try_nccl_ = env.world().local_size <= CudaDeviceCount();
    if (try_nccl_) nccl_ = OnCuda(MakeMpiGroup(env), CudaTransport::kNccl);
  }

  void Run(const char* table_path) {
    if (table_path != nullptr && speaks()) table_.open(table_path);
    AllReduces();
    AllGathers();
    Exchanges();
  }

 private:
  bool speaks() const { return env_.world().rank == 0; }
  int size() const { return env_.world().size; }

  void AllReduces() {
    Say("all-reduce of bf16, us: own, NCCL; with residual and norm: own fused, NCCL + op\n");
    for (int64_t bytes = 8 << 10; bytes <= 8 << 20; bytes *= 2) {
      const int64_t rows = bytes / 2 / kHidden;
      const DeviceTensor x({rows, kHidden}, kDType), residual({rows, kHidden}, kDType);
      const DeviceTensor out({rows, kHidden}, kDType), weight({kHidden}, kDType);
      weight.Put(RandomHalves(kHidden, 1).data(), stream_);
      residual.Put(RandomHalves(rows * kHidden, 2).data(), stream_);
      const auto mine = RandomHalves(rows * kHidden, 3 + env_.world().rank);
      const auto reduce = [&](Group& group) {
        return Time(bytes, [&] { group.collectives->AllReduce(x.view, ReduceOp::kSum, stream_); });
      };
      const auto norm = [&](Group& group) {
        return Time(bytes, [&] {
          group.collectives->AllReduceAddRmsNorm(out.view, residual.view, x.view, weight.view,
                                                 1e-5f, stream_);
        });
      };
      CheckSums(x, mine);
      x.Put(mine.data(), stream_);
      const double own = reduce(own_), fused = norm(own_);
      const double nccl = try_nccl_ ? reduce(nccl_) : 0, composed = try_nccl_ ? norm(nccl_) : 0;
      Say("%9lld %8.2f %8.2f   %8.2f %8.2f\n", static_cast<long long>(bytes), own, nccl, fused,
          composed);
      Put("all_reduce", bytes, try_nccl_ ? std::min(own, nccl) : own);
      Put("all_reduce_add_rms_norm", bytes, try_nccl_ ? std::min(fused, composed) : fused);
    }
  }

  // Own sums have the same bits on every rank, and are near NCCL's.
  void CheckSums(const DeviceTensor& x, const std::vector<uint16_t>& mine) {
    x.Put(mine.data(), stream_);
    own_.collectives->AllReduce(x.view, ReduceOp::kSum, stream_);
    const std::string own = x.Get(stream_);
    for (const std::string& other : own_.control->AllGather(own)) {
      CHECK(other == own) << "ranks got different sums";
    }
    if (!try_nccl_) return;
    x.Put(mine.data(), stream_);
    nccl_.collectives->AllReduce(x.view, ReduceOp::kSum, stream_);
    const std::string nccl = x.Get(stream_);
    for (const std::string& other : own_.control->AllGather(nccl)) {
      CHECK(other == nccl) << "ranks got different sums from NCCL";
    }
    CHECK(size() != 2 || own == nccl) << "of two parts there is one sum";
  }

  void AllGathers() {
    Say("all-gather, bytes per rank, us: own, NCCL\n");
    for (int64_t bytes = 16 << 10; bytes <= 4 << 20; bytes *= 4) {
      const DeviceTensor x({bytes / 2}, kDType), out({size(), bytes / 2}, kDType);
      x.Put(RandomHalves(bytes / 2, env_.world().rank).data(), stream_);
      const auto gather = [&](Group& group) {
        return Time(bytes, [&] { group.collectives->AllGather(out.view, x.view, stream_); });
      };
      const double own = gather(own_), nccl = try_nccl_ ? gather(nccl_) : 0;
      Say("%9lld %8.2f %8.2f\n", static_cast<long long>(bytes), own, nccl);
      Put("all_gather", bytes, try_nccl_ ? std::min(own, nccl) : own);
    }
  }

  void Exchanges() {
    constexpr int64_t kTopK = 2048, kContext = 131072;
    Say("selection exchange with merge, k = 2048, us: own, two NCCL all-gathers + op\n");
    for (const int64_t seqs : {1, 8, 32}) {
      const Shape list = {seqs, 1, kTopK};
      const DeviceTensor local(list, DType::kI32), scores(list, DType::kF32);
      const DeviceTensor positions(list, DType::kI32), count({seqs}, DType::kI32);
      const DeviceTensor all({size(), list.elements()}, DType::kI32);
      const DeviceTensor all_scores({size(), list.elements()}, DType::kF32);
      const DeviceTensor begin({seqs}, DType::kI32), end({seqs}, DType::kI32);
      const DeviceTensor k({seqs}, DType::kI32);
      const auto fill = [&](const DeviceTensor& x, int64_t value) {
        x.Put(std::vector<int32_t>(static_cast<size_t>(seqs), static_cast<int32_t>(value)).data(),
              stream_);
      };
      fill(begin, 0);
      fill(end, kContext);
      fill(k, kTopK);
      PutLists(seqs, kTopK, kContext, local, scores);
      Scratch scratch(Buffer(MemoryKind::kCuda, size_t{64} << 20, "scratch"));
      const auto exchange = [&](Group& group) {
        group.collectives->ExchangeTopK(
            {positions.view, count.view, local.view, scores.view, all.view, all_scores.view},
            {begin.view, end.view, k.view}, {0, size()}, scratch, stream_);
        return positions.Get(stream_);
      };
      const std::string own_set = exchange(own_);
      CHECK(!try_nccl_ || own_set == exchange(nccl_)) << "exchange and merge differ";
      const auto time = [&](Group& group) {
        return Time(seqs * kTopK * 8, [&] {
          group.collectives->ExchangeTopK(
              {positions.view, count.view, local.view, scores.view, all.view, all_scores.view},
              {begin.view, end.view, k.view}, {0, size()}, scratch, stream_);
        });
      };
      const double own = time(own_), nccl = try_nccl_ ? time(nccl_) : 0;
      Say("batch %3lld %8.2f %8.2f\n", static_cast<long long>(seqs), own, nccl);
      Put("exchange_top_k", seqs * kTopK * 8, try_nccl_ ? std::min(own, nccl) : own);
    }
  }

  // Lists that overlap by about half, with scores like logits.
  void PutLists(int64_t seqs, int64_t k, int64_t context, const DeviceTensor& positions,
                const DeviceTensor& scores) {
    std::vector<int32_t> lists;
    std::vector<float> values;
    for (int64_t s = 0; s < seqs; ++s) {
      std::mt19937 common(static_cast<uint32_t>(s));
      std::mt19937 random(static_cast<uint32_t>(1000 * s + 17 * env_.world().rank + 5));
      std::vector<int32_t> list;
      for (int64_t i = 0; i < k; ++i) {
        std::mt19937& source = i < k / 2 ? common : random;
        const int64_t stride = context / k;  // one of each stretch: ascending and unique
        const auto at = static_cast<int64_t>(source() % static_cast<uint64_t>(stride));
        list.push_back(static_cast<int32_t>(i * stride + at));
      }
      lists.insert(lists.end(), list.begin(), list.end());
      std::normal_distribution<float> normal(6.0f, 1.0f);
      for (int64_t i = 0; i < k; ++i) values.push_back(normal(random));
    }
    positions.Put(lists.data(), stream_);
    scores.Put(values.data(), stream_);
  }

  // Microseconds of a call within a graph of them: the median of several runs on the slowest rank.
  double Time(int64_t bytes, const std::function<void()>& call) {
    constexpr int kRuns = 7;
    const int replays = bytes > 1 << 20 ? 3 : 10;
    call();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    CheckCuda(cudaStreamBeginCapture(stream_.cuda(), cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kCallsPerGraph; ++i) call();
    CheckCuda(cudaStreamEndCapture(stream_.cuda(), &graph));
    CheckCuda(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t begin = nullptr, end = nullptr;
    CheckCuda(cudaEventCreate(&begin));
    CheckCuda(cudaEventCreate(&end));
    std::vector<float> runs_us;
    for (int run = -1; run < kRuns; ++run) {
      Barrier(*own_.control);
      CheckCuda(cudaGraphLaunch(exec, stream_.cuda()));  // ranks fall into step
      CheckCuda(cudaEventRecord(begin, stream_.cuda()));
      for (int i = 0; i < replays; ++i) CheckCuda(cudaGraphLaunch(exec, stream_.cuda()));
      CheckCuda(cudaEventRecord(end, stream_.cuda()));
      stream_.Synchronize();
      float elapsed_ms = 0;
      CheckCuda(cudaEventElapsedTime(&elapsed_ms, begin, end));
      const auto calls = static_cast<float>(replays * kCallsPerGraph);
      if (run >= 0) runs_us.push_back(1000.0f * elapsed_ms / calls);
    }
    CheckCuda(cudaEventDestroy(begin));
    CheckCuda(cudaEventDestroy(end));
    CheckCuda(cudaGraphExecDestroy(exec));
    CheckCuda(cudaGraphDestroy(graph));
    std::sort(runs_us.begin(), runs_us.end());
    double slowest = 0;
    for (const std::string& us : own_.control->AllGather(std::to_string(runs_us[kRuns / 2]))) {
      slowest = std::max(slowest, std::stod(us));
    }
    return slowest;
  }

  template <typename... Args>
  void Say(const char* format, Args... args) {
    if (!speaks()) return;
    std::printf(format, args...);
    std::fflush(stdout);
  }
  void Put(const char* what, int64_t bytes, double us) {
    if (table_.is_open()) table_ << what << ' ' << size() << ' ' << bytes << ' ' << us << std::endl;
  }

  const MpiEnv& env_;
  Group own_;
  Group nccl_;
  bool try_nccl_ = false;
  Stream stream_ = Stream::Cuda();
  std::ofstream table_;
};

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) {
  const tamis::MpiEnv env(&argc, &argv);
  const int devices = tamis::CudaDeviceCount();
  CHECK_GE(devices, 1) << "no GPU";
  tamis::SetCudaDevice(env.world().local_rank % devices);
  tamis::Bench(env).Run(argc > 1 ? argv[1] : nullptr);
  return 0;
}
