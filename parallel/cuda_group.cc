// SPDX-License-Identifier: Apache-2.0
// Which transport carries CUDA tensors: NCCL where every rank has a GPU of its own, staging
// through the host where ranks share one, which NCCL refuses.
#include "parallel/cuda_group.h"

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/cuda/check_cuda.h"
#include "parallel/nccl_collectives.h"
#include "parallel/staged_collectives.h"

namespace tamis {
namespace {

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

// Host tensors go to `host`, CUDA tensors to `device`.
class CudaCollectives final : public Collectives {
 public:
  CudaCollectives(std::unique_ptr<Collectives> host, std::unique_ptr<Collectives> device)
      : host_(std::move(host)), device_(std::move(device)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  bool capturable() const override { return device_->capturable(); }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    (x.device == DeviceKind::kCpu ? host_ : device_)->AllReduce(x, op, stream);
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    (x.device == DeviceKind::kCpu ? host_ : device_)->AllGather(out, x, stream);
  }

 private:
  std::unique_ptr<Collectives> host_;
  std::unique_ptr<Collectives> device_;
};

}  // namespace

Group OnCuda(Group host, CudaTransport transport) {
  if (host.control->size() == 1) return host;
  Control& control = *host.control;
  const bool own_gpus = EachRankHasItsOwnGpu(control);
  if (transport == CudaTransport::kAuto) {
    transport = own_gpus ? CudaTransport::kNccl : CudaTransport::kHost;
  }
  CHECK(own_gpus || transport != CudaTransport::kNccl) << "NCCL wants a GPU for every rank";
  std::unique_ptr<Collectives> device = transport == CudaTransport::kNccl
                                            ? MakeNcclCollectives(control)
                                            : MakeStagedCollectives(*host.collectives);
  host.collectives =
      std::make_unique<CudaCollectives>(std::move(host.collectives), std::move(device));
  return host;
}

}  // namespace tamis
