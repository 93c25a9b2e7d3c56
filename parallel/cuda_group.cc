// SPDX-License-Identifier: Apache-2.0
// Which transport carries CUDA tensors: where every rank has a GPU of its own, peer-to-peer stores
// for small messages and NCCL for large ones; staging through the host where ranks share a GPU,
// which NCCL refuses and where in-kernel waits would cost a time slice each.
#include "parallel/cuda_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>

#include "kernels/cuda/check_cuda.h"
#include "parallel/ipc_collectives.h"
#include "parallel/nccl_collectives.h"
#include "parallel/staged_collectives.h"
#include "parallel/top_k_exchange.h"

namespace tamis {
namespace {

// What a rank sends to all others together, up to which peer-to-peer stores beat NCCL; measured on
// two H100 (bench/results/h100x2.md).
constexpr size_t kSmallBytesMax = size_t{2} << 20;

// Names this thread's device among all GPUs of all hosts.
std::string DeviceId() {
  int device = 0;
  cudaDeviceProp properties = {};
  CheckCuda(cudaGetDevice(&device));
  CheckCuda(cudaGetDeviceProperties(&properties, device));
  return {properties.uuid.bytes, sizeof properties.uuid.bytes};
}

bool EachRankHasItsOwnGpu(Control& control) {
  const std::vector<std::string> devices = control.AllGather(DeviceId());
  for (size_t a = 0; a < devices.size(); ++a) {
    for (size_t b = a + 1; b < devices.size(); ++b) {
      if (devices[a] == devices[b]) return false;
    }
  }
  return true;
}

// Host tensors go to `host`; CUDA tensors to `small` (if there is one) up to the sizes below, to
// `large` above.
class CudaCollectives final : public Collectives {
 public:
  CudaCollectives(std::unique_ptr<Collectives> host, std::unique_ptr<Collectives> small,
                  std::unique_ptr<Collectives> large)
      : host_(std::move(host)), small_(std::move(small)), large_(std::move(large)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  bool capturable() const override { return large_->capturable(); }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    For(x).AllReduce(x, op, stream);
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    For(x).AllGather(out, x, stream);
  }

  void AllReduceAddRmsNorm(TensorView out, TensorView residual, TensorView x,
                           ConstTensorView weight, float eps, const Stream& stream) override {
    For(x).AllReduceAddRmsNorm(out, residual, x, weight, eps, stream);
  }

  void ExchangeTopK(const TopKExchange& lists, const CandidateView& candidates, Slice peers,
                    Scratch& scratch, const Stream& stream) override {
    For(lists.local_positions).ExchangeTopK(lists, candidates, peers, scratch, stream);
  }

 private:
  Collectives& For(const ConstTensorView& x) {
    if (x.device == DeviceKind::kCpu) return *host_;
    const size_t sent = x.bytes() * static_cast<size_t>(size() - 1);
    return small_ != nullptr && sent <= kSmallBytesMax ? *small_ : *large_;
  }

  std::unique_ptr<Collectives> host_;
  std::unique_ptr<Collectives> small_;  // may be null
  std::unique_ptr<Collectives> large_;
};

std::unique_ptr<Collectives> OrDie(std::unique_ptr<Collectives> ipc) {
  CHECK(ipc != nullptr) << "these GPUs cannot write into each other's memory";
  return ipc;
}

}  // namespace

int RanksOnMyGpu(Control& control) {
  const std::vector<std::string> devices = control.AllGather(DeviceId());
  const std::string& mine = devices[static_cast<size_t>(control.rank())];
  return static_cast<int>(std::count(devices.begin(), devices.end(), mine));
}

Group OnCuda(Group host, CudaTransport transport) {
  if (host.control->size() == 1) return host;
  Control& control = *host.control;
  const bool own_gpus = EachRankHasItsOwnGpu(control);
  CHECK(own_gpus || transport != CudaTransport::kNccl) << "NCCL wants a GPU for every rank";
  if (transport == CudaTransport::kAuto && !own_gpus) transport = CudaTransport::kHost;
  std::unique_ptr<Collectives> small, large;
  switch (transport) {
    case CudaTransport::kAuto: small = MakeIpcCollectives(control); [[fallthrough]];
    case CudaTransport::kNccl: large = MakeNcclCollectives(control); break;
    case CudaTransport::kIpc: large = OrDie(MakeIpcCollectives(control)); break;
    case CudaTransport::kHost: large = MakeStagedCollectives(*host.collectives); break;
  }
  host.collectives = std::make_unique<CudaCollectives>(std::move(host.collectives),
                                                       std::move(small), std::move(large));
  return host;
}

}  // namespace tamis
