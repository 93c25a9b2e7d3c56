// SPDX-License-Identifier: Apache-2.0
// The parts of an MPI group. Private to parallel/ and its tests; others call MakeMpiGroup.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/groups.h"

namespace tamis {

// Control over a private duplicate of MPI_COMM_WORLD: the collectives below share it.
class MpiControl final : public Control {
 public:
  explicit MpiControl(const World& world);
  ~MpiControl() override;
  MpiControl(const MpiControl&) = delete;
  MpiControl& operator=(const MpiControl&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void Broadcast(std::string* bytes) override;
  std::vector<std::string> AllGather(std::string_view bytes) override;
  MPI_Comm comm() const { return comm_; }

 private:
  class Outbox;
  void Receive(int from, int tag, const char* call, std::string* bytes);

  int rank_;
  int size_;
  MPI_Comm comm_ = MPI_COMM_NULL;
};

// Host collectives by point-to-point messages: for ranks on several hosts. `control` must outlive
// the result; its timeout bounds every wait.
std::unique_ptr<Collectives> MakeMpiCollectives(const MpiControl& control);

// A group whose collectives use messages although shared memory would do. For tests.
Group MakeMpiMessageGroup(const MpiEnv& env);

}  // namespace tamis
