// SPDX-License-Identifier: Apache-2.0
// The group cases on CUDA tensors under mpirun, over every transport that this machine's GPUs
// allow, and inside CUDA graphs. Ranks take turns at the GPUs there are: with fewer GPUs than ranks
// NCCL is out, and a handshake between ranks costs a time slice.
#include "parallel/cuda_group.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/check_cuda.h"
#include "kernels/ops.h"
#include "tests/parallel/device_tensor.h"
#include "tests/parallel/group_cases.h"
#include "tests/support/mpi_test.h"

namespace tamis {
namespace {

const char* NameOf(CudaTransport transport) {
  switch (transport) {
    case CudaTransport::kAuto: return "Auto";
    case CudaTransport::kNccl: return "Nccl";
    case CudaTransport::kIpc: return "Ipc";
    case CudaTransport::kHost: return "Host";
  }
  return "";
}

constexpr CudaTransport kTransports[] = {CudaTransport::kAuto, CudaTransport::kNccl,
                                         CudaTransport::kIpc, CudaTransport::kHost};

// One group per transport for the whole program, because NCCL takes a second to join; gone before
// MPI is.
class Groups : public testing::Environment {
 public:
  void SetUp() override { SetCudaDevice(TestMpi().world().local_rank % CudaDeviceCount()); }
  void TearDown() override { groups_.clear(); }

  Group& Of(CudaTransport transport) {
    const auto found = groups_.find(transport);
    if (found != groups_.end()) return found->second;
    return groups_.emplace(transport, OnCuda(MakeMpiGroup(TestMpi()), transport)).first->second;
  }

 private:
  std::map<CudaTransport, Group> groups_;
};
Groups& groups = *dynamic_cast<Groups*>(testing::AddGlobalTestEnvironment(new Groups));

bool RanksShareGpus() { return TestMpi().world().local_size > CudaDeviceCount(); }

struct Param {
  CudaTransport transport;
  GroupCase group_case;
};

std::vector<Param> Params() {
  std::vector<Param> params;
  for (const CudaTransport transport : kTransports) {
    for (const GroupCase& group_case : GroupCases()) params.push_back({transport, group_case});
  }
  return params;
}

TEST(RanksOnMyGpu, CountsByTheDeviceAndNotByItsNumber) {
  const int size = TestMpi().world().size;
  const int gpus = CudaDeviceCount();
  const int mine = TestMpi().world().local_rank % gpus;
  EXPECT_EQ(RanksOnMyGpu(*MakeMpiGroup(TestMpi()).control), (size - mine + gpus - 1) / gpus);
}

class CudaGroupTest : public testing::TestWithParam<Param> {};

TEST_P(CudaGroupTest, Case) {
  const CudaTransport transport = GetParam().transport;
  if (transport == CudaTransport::kNccl && RanksShareGpus()) GTEST_SKIP() << "NCCL refuses";
  // The cases want sums in rank order, which NCCL does not promise; of two parts there is one sum.
  const bool by_nccl = transport == CudaTransport::kNccl || transport == CudaTransport::kAuto;
  if (by_nccl && !RanksShareGpus() && TestMpi().world().size > 2) {
    GTEST_SKIP() << "NCCL sums in its own order";
  }
  Group& group = groups.Of(transport);
  const Stream stream = Stream::Cuda();
  GetParam().group_case.run(group, stream);
}

INSTANTIATE_TEST_SUITE_P(, CudaGroupTest, testing::ValuesIn(Params()), [](const auto& test) {
  return std::string(NameOf(test.param.transport)) + test.param.group_case.name;
});

class CudaGraphTest : public testing::TestWithParam<CudaTransport> {};

// A graph of every call, replayed: what a replay computes goes into the next one, so that a packet
// of an earlier round, taken for one of this round, would show.
class Chain {
 public:
  Chain(Group& group, const Stream& stream)
      : group_(group),
        stream_(stream),
        residual_(BytesOf(std::vector<float>(kItems, 1.0f)), {kRows, kHidden}, DType::kF32, stream),
        weight_(BytesOf(std::vector<float>(kHidden, 1.0f)), {kHidden}, DType::kF32, stream),
        x_({kRows, kHidden}, DType::kF32, stream),
        out_(Start(), {kRows, kHidden}, DType::kF32, stream),
        all_({group.collectives->size(), kRows, kHidden}, DType::kF32, stream) {}

  void Enqueue() {
    CopyBytes(x_.view().data, DeviceKind::kCuda, out_.view().data, DeviceKind::kCuda, kBytes,
              stream_);
    group_.collectives->AllReduce(x_.view(), ReduceOp::kSum, stream_);
    group_.collectives->AllReduceAddRmsNorm(out_.view(), residual_.view(), x_.view(),
                                            weight_.view(), 1e-5f, stream_);
    group_.collectives->AllGather(all_.view(), out_.view(), stream_);
  }

  // The same without other ranks, which all hold the same.
  void EnqueueAlone() {
    std::vector<float> sum = ValuesOf<float>(out_.Get());
    const auto size = static_cast<float>(group_.collectives->size());
    for (float& value : sum) value *= size * size;  // reduced twice
    x_.Put(BytesOf(sum));
    ops::AddRmsNorm(out_.view(), residual_.view(), x_.view(), weight_.view(), 1e-5f, stream_);
    for (int r = 0; r < group_.collectives->size(); ++r) {
      CopyBytes(Rows(all_.view(), r, 1).data, DeviceKind::kCuda, out_.view().data,
                DeviceKind::kCuda, kBytes, stream_);
    }
  }

  std::string State() { return out_.Get() + residual_.Get() + all_.Get(); }

 private:
  static constexpr int64_t kRows = 2;
  static constexpr int64_t kHidden = 512;
  static constexpr size_t kItems = kRows * kHidden;
  static constexpr size_t kBytes = kItems * sizeof(float);
  static std::string Start() {
    std::vector<float> values(kItems);
    for (size_t i = 0; i < kItems; ++i) values[i] = static_cast<float>(i % 17) - 8.0f;
    return BytesOf(values);
  }

  Group& group_;
  const Stream& stream_;
  TestTensor residual_, weight_, x_, out_, all_;
};

TEST_P(CudaGraphTest, ReplaysAreRounds) {
  if (GetParam() == CudaTransport::kNccl && RanksShareGpus()) GTEST_SKIP() << "NCCL refuses";
  if (TestMpi().world().size != 2) GTEST_SKIP() << "sums of three would round";
  Group& group = groups.Of(GetParam());
  if (!group.collectives->capturable()) GTEST_SKIP() << "not capturable";
  const int replays = RanksShareGpus() ? 200 : 1000;  // each takes time slices there
  const Stream stream = Stream::Cuda();
  Chain chain(group, stream), alone(group, stream);
  chain.Enqueue();
  alone.EnqueueAlone();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CheckCuda(cudaStreamBeginCapture(stream.cuda(), cudaStreamCaptureModeThreadLocal));
  chain.Enqueue();
  CheckCuda(cudaStreamEndCapture(stream.cuda(), &graph));
  CheckCuda(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < replays; ++i) CheckCuda(cudaGraphLaunch(exec, stream.cuda()));
  stream.Synchronize();
  for (int i = 0; i < replays; ++i) alone.EnqueueAlone();
  EXPECT_TRUE(chain.State() == alone.State());
  CheckCuda(cudaGraphExecDestroy(exec));
  CheckCuda(cudaGraphDestroy(graph));
  Barrier(*group.control);
}

INSTANTIATE_TEST_SUITE_P(, CudaGraphTest, testing::ValuesIn(kTransports),
                         [](const auto& test) { return std::string(NameOf(test.param)); });

}  // namespace
}  // namespace tamis
