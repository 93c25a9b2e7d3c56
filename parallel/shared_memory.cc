// SPDX-License-Identifier: Apache-2.0
#include "parallel/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>

namespace tamis {
namespace {

// Closes on destruction. Mappings outlive their descriptor.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int CreateRegion(size_t bytes) {
  const int fd = memfd_create("tamis", MFD_CLOEXEC);
  if (fd < 0) return -1;
  if (posix_fallocate(fd, 0, static_cast<off_t>(bytes)) == 0) return fd;
  close(fd);
  return -1;
}

// A path that names nothing but this region, or another host's with the same process id: the
// number written at its end tells them apart.
struct Offer {
  std::string host;
  std::string path;
  uint64_t nonce = 0;
};

std::string Encode(const Offer& offer) {
  return offer.host + '\n' + offer.path + '\n' + std::to_string(offer.nonce);
}

bool Decode(const std::string& text, Offer* offer) {
  const size_t first = text.find('\n');
  if (first == std::string::npos) return false;
  const size_t second = text.find('\n', first + 1);
  offer->host = text.substr(0, first);
  offer->path = text.substr(first + 1, second - first - 1);
  offer->nonce = std::stoull(text.substr(second + 1));
  return true;
}

uint64_t NewNonce() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

SharedMemory SharedMemory::Map(int fd, size_t bytes) {
  SharedMemory memory;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.bytes_ = bytes;
  return memory;
}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

SharedMemory ShareOnHost(const World& world, Control& control, size_t bytes) {
  const size_t region_bytes = bytes + sizeof(uint64_t);
  const Fd created(world.local_rank == 0 ? CreateRegion(region_bytes) : -1);
  SharedMemory memory;
  std::string mine;
  if (created.get() >= 0) {
    memory = SharedMemory::Map(created.get(), region_bytes);
    const Offer offer = {
        world.host, "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(created.get()),
        NewNonce()};
    if (memory.data() != nullptr) {
      std::memcpy(memory.data() + bytes, &offer.nonce, sizeof offer.nonce);
      mine = Encode(offer);
    }
  }
  for (const std::string& text : control.AllGather(mine)) {
    Offer offer;
    if (memory.data() != nullptr || !Decode(text, &offer) || offer.host != world.host) continue;
    const Fd opened(open(offer.path.c_str(), O_RDWR | O_CLOEXEC));
    if (opened.get() < 0 || lseek(opened.get(), 0, SEEK_END) != static_cast<off_t>(region_bytes)) {
      continue;
    }
    SharedMemory theirs = SharedMemory::Map(opened.get(), region_bytes);
    uint64_t nonce = 0;
    if (theirs.data() == nullptr) continue;
    std::memcpy(&nonce, theirs.data() + bytes, sizeof nonce);
    if (nonce == offer.nonce) memory = std::move(theirs);
  }
  Barrier(control);  // the creators keep their descriptors open until everybody has looked
  return memory;
}

}  // namespace tamis
