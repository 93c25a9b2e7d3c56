// SPDX-License-Identifier: Apache-2.0
#include "parallel/nccl_collectives.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <future>
#include <mutex>
#include <source_location>
#include <string>
#include <thread>

#include "kernels/cuda/check_cuda.h"
#include "parallel/bounded_wait.h"
#include "parallel/reduce.h"

namespace tamis {
namespace {

void CheckNccl(ncclResult_t status, std::source_location site = std::source_location::current()) {
  if (status == ncclSuccess) [[likely]]
    return;
  Die(std::string("NCCL: ") + ncclGetErrorString(status), site);
}

ncclDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32: return ncclFloat32;
    case DType::kF16: return ncclFloat16;
    default: return ncclBfloat16;
  }
}

// Rank 0's id of the new communicator, on every rank.
ncclUniqueId ShareUniqueId(Control& control) {
  ncclUniqueId id = {};
  if (control.rank() == 0) CheckNccl(ncclGetUniqueId(&id));
  std::string bytes(id.internal, sizeof id.internal);
  control.Broadcast(&bytes);
  CHECK_EQ(bytes.size(), sizeof id.internal);
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  return id;
}

// Joining waits for every rank, without a bound of its own: it runs on a thread that is left
// behind when the time is over, which the process does not outlive.
ncclComm_t Join(Control& control, const ncclUniqueId& id) {
  int device = 0;
  CheckCuda(cudaGetDevice(&device));
  const int rank = control.rank(), size = control.size();
  std::promise<ncclComm_t> joined;
  std::future<ncclComm_t> comm = joined.get_future();
  std::thread([joined = std::move(joined), id, device, rank, size]() mutable {
    SetFailureRank(rank);
    CheckCuda(cudaSetDevice(device));
    ncclComm_t result = nullptr;
    CheckNccl(ncclCommInitRank(&result, size, id, rank));
    joined.set_value(result);
  }).detach();
  if (comm.wait_for(control.timeout()) != std::future_status::ready) {
    DieOfWaiting(rank, "ncclCommInitRank", control.timeout());
  }
  return comm.get();
}

class NcclCollectives final : public Collectives {
 public:
  explicit NcclCollectives(Control& control)
      : rank_(control.rank()),
        size_(control.size()),
        comm_(Join(control, ShareUniqueId(control))),
        watch_([this] { Watch(); }) {}

  ~NcclCollectives() override {
    {
      const std::scoped_lock lock(mutex_);
      ended_ = true;
    }
    end_.notify_all();
    watch_.join();
    // Not Destroy: that waits for peers, which may be gone. Nothing is in flight any more.
    static_cast<void>(ncclCommAbort(comm_));
  }
  NcclCollectives(const NcclCollectives&) = delete;
  NcclCollectives& operator=(const NcclCollectives&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool capturable() const override { return true; }

  void AllReduce(TensorView x, ReduceOp op, const Stream& stream) override {
    CheckReducible(x, DeviceKind::kCuda);
    if (x.empty()) return;
    CheckNccl(ncclAllReduce(x.data, x.data, static_cast<size_t>(x.elements()), TypeOf(x.dtype),
                            op == ReduceOp::kSum ? ncclSum : ncclMax, comm_, stream.cuda()));
  }

  void AllGather(TensorView out, ConstTensorView x, const Stream& stream) override {
    CheckGatherable(out, x, size_, DeviceKind::kCuda);
    if (x.empty()) return;
    CheckNccl(ncclAllGather(x.data, out.data, x.bytes(), ncclUint8, comm_, stream.cuda()));
  }

 private:
  // NCCL's own threads find broken links; somebody has to ask.
  void Watch() {
    constexpr auto kInterval = std::chrono::milliseconds(500);
    SetFailureRank(rank_);
    std::unique_lock lock(mutex_);
    while (!end_.wait_for(lock, kInterval, [this] { return ended_; })) {
      ncclResult_t status = ncclSuccess;
      CheckNccl(ncclCommGetAsyncError(comm_, &status));
      CheckNccl(status);
    }
  }

  int rank_;
  int size_;
  ncclComm_t comm_;
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;  // guarded by mutex_
  std::thread watch_;   // last: uses all of the above
};

}  // namespace

std::unique_ptr<Collectives> MakeNcclCollectives(Control& control) {
  // NVLink multicast stays off, whatever the environment says; before NCCL reads it.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/1);
  return std::make_unique<NcclCollectives>(control);
}

}  // namespace tamis
