// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tamis {
namespace {

// madvise takes a mutable pointer though it changes nothing here.
void Advise(uintptr_t begin, uintptr_t end, int advice) {
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

uintptr_t PageBytes() {
  static const uintptr_t page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  return page_bytes;
}

absl::Status FileError(const std::string& path, const char* what, int error) {
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "cannot open", errno);
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    close(fd);
    return FileError(path, "cannot stat", error);
  }
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat(path, S_ISREG(info.st_mode) ? ": the file is empty" : ": not a file"));
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (data == MAP_FAILED) return FileError(path, "cannot map", error);
  // Without this the kernel reads ahead into rows and columns of other ranks.
  madvise(data, size, MADV_RANDOM);
  return MappedFile({static_cast<const std::byte*>(data), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::WillNeed(std::span<const std::byte> part) {
  // The kernel cuts one request to the device's read-ahead size, so ask in small pieces.
  constexpr uintptr_t kRequestBytes = 128 * 1024;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data()) + part.size();
  uintptr_t begin = reinterpret_cast<uintptr_t>(part.data()) / PageBytes() * PageBytes();
  for (; begin < end; begin += kRequestBytes) {
    Advise(begin, std::min(begin + kRequestBytes, end), MADV_WILLNEED);
  }
}

void MappedFile::Release(std::span<const std::byte> part) {
  const uintptr_t data = reinterpret_cast<uintptr_t>(part.data());
  Advise((data + PageBytes() - 1) / PageBytes() * PageBytes(),
         (data + part.size()) / PageBytes() * PageBytes(), MADV_DONTNEED);
}

}  // namespace tamis
