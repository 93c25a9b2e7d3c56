// SPDX-License-Identifier: Apache-2.0
// Control over MPI messages. Every text travels as one packet of fixed size with its length in
// front, so that a step plan costs one message and no probe; what does not fit follows in parts.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/check.h"
#include "parallel/bounded_wait.h"
#include "parallel/mpi_check.h"
#include "parallel/mpi_group.h"

namespace tamis {
namespace {

constexpr int kBroadcastTag = 1;
constexpr int kGatherTag = 2;

constexpr size_t kPacketBytes = 4096;  // below Open MPI's eager limits
struct Packet {
  uint64_t length;  // of the whole text
  std::array<char, kPacketBytes - sizeof(uint64_t)> head;
};
static_assert(sizeof(Packet) == kPacketBytes);

constexpr size_t kPartBytes = size_t{1} << 30;  // MPI counts are ints

int PacketLength(size_t text_bytes) {
  return static_cast<int>(sizeof(uint64_t) + std::min(text_bytes, sizeof(Packet::head)));
}

}  // namespace

// The sends of one text to any number of ranks; Wait before it or the text is destroyed.
class MpiControl::Outbox {
 public:
  Outbox(const MpiControl& control, std::string_view text, int tag)
      : control_(control), text_(text), tag_(tag) {
    packet_.length = text.size();
    std::copy_n(text.data(), std::min(text.size(), packet_.head.size()), packet_.head.data());
  }

  void SendTo(int rank) {
    Send(&packet_, PacketLength(text_.size()), rank);
    for (size_t begin = packet_.head.size(); begin < text_.size(); begin += kPartBytes) {
      const size_t bytes = std::min(kPartBytes, text_.size() - begin);
      Send(text_.data() + begin, static_cast<int>(bytes), rank);
    }
  }

  void Wait(const char* call) {
    const auto sent = [&] {
      int done = 0;
      CheckMpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                           MPI_STATUSES_IGNORE));
      return done != 0;
    };
    PollUntil(sent, control_.rank(), call, control_.timeout());
  }

 private:
  void Send(const void* data, int bytes, int rank) {
    requests_.push_back(MPI_REQUEST_NULL);
    CheckMpi(MPI_Isend(data, bytes, MPI_BYTE, rank, tag_, control_.comm(), &requests_.back()));
  }

  const MpiControl& control_;
  std::string_view text_;
  int tag_;
  Packet packet_;
  std::vector<MPI_Request> requests_;
};

MpiControl::MpiControl(const World& world) : rank_(world.rank), size_(world.size) {
  CheckMpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_));
  CheckMpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
}

MpiControl::~MpiControl() { MPI_Comm_free(&comm_); }

void MpiControl::Receive(int from, int tag, const char* call, std::string* bytes) {
  MPI_Request request = MPI_REQUEST_NULL;
  const auto arrived = [&] {
    int done = 0;
    CheckMpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    return done != 0;
  };
  Packet packet;
  CheckMpi(MPI_Irecv(&packet, sizeof packet, MPI_BYTE, from, tag, comm_, &request));
  PollUntil(arrived, rank_, call, timeout());
  bytes->resize(packet.length);
  std::copy_n(packet.head.data(), std::min(bytes->size(), packet.head.size()), bytes->data());
  for (size_t begin = packet.head.size(); begin < bytes->size(); begin += kPartBytes) {
    const size_t part = std::min(kPartBytes, bytes->size() - begin);
    CheckMpi(MPI_Irecv(bytes->data() + begin, static_cast<int>(part), MPI_BYTE, from, tag, comm_,
                       &request));
    PollUntil(arrived, rank_, call, timeout());
  }
}

void MpiControl::Broadcast(std::string* bytes) {
  constexpr const char* kCall = "Control::Broadcast";
  if (rank_ != 0) {
    Receive(0, kBroadcastTag, kCall, bytes);
    return;
  }
  Outbox outbox(*this, *bytes, kBroadcastTag);
  for (int to = 1; to < size_; ++to) outbox.SendTo(to);
  outbox.Wait(kCall);
}

std::vector<std::string> MpiControl::AllGather(std::string_view bytes) {
  constexpr const char* kCall = "Control::AllGather";
  Outbox outbox(*this, bytes, kGatherTag);
  for (int step = 1; step < size_; ++step) outbox.SendTo((rank_ + step) % size_);
  std::vector<std::string> all(static_cast<size_t>(size_));
  for (int from = 0; from < size_; ++from) {
    std::string& text = all[static_cast<size_t>(from)];
    if (from == rank_) {
      text = bytes;
    } else {
      Receive(from, kGatherTag, kCall, &text);
    }
  }
  outbox.Wait(kCall);
  return all;
}

}  // namespace tamis
