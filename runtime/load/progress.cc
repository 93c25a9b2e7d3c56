// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/progress.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

namespace tamis {
namespace {

constexpr uint64_t kLogStepPercent = 10;
constexpr std::chrono::seconds kLogPeriod{5};
constexpr std::chrono::milliseconds kBarPeriod{100};
constexpr size_t kBarWidth = 30;

std::string Bar(uint64_t percent) {
  const size_t filled = static_cast<size_t>(percent) * kBarWidth / 100;
  return "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '-') + "]";
}

}  // namespace

ProgressPrinter::ProgressPrinter(bool terminal, std::function<void(std::string_view)> write,
                                 std::function<Clock::time_point()> now)
    : terminal_(terminal),
      write_(std::move(write)),
      now_(std::move(now)),
      start_(now_()),
      shown_at_(start_) {}

void ProgressPrinter::Update(uint64_t done_bytes, uint64_t total_bytes) {
  if (finished_ || total_bytes == 0) return;
  finished_ = done_bytes >= total_bytes;
  const double part = static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const uint64_t percent = finished_ ? 100 : static_cast<uint64_t>(part * 100.0);
  const Clock::time_point now = now_();
  const auto since_shown = now - shown_at_;
  const bool due = terminal_ ? since_shown >= kBarPeriod
                             : since_shown >= kLogPeriod ||
                                   percent / kLogStepPercent > shown_percent_ / kLogStepPercent;
  if (!due && !finished_) return;
  shown_at_ = now;
  shown_percent_ = percent;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double done_gb = static_cast<double>(done_bytes) * 1e-9;
  const double total_gb = static_cast<double>(total_bytes) * 1e-9;
  const double rate = seconds > 0 ? done_gb / seconds : 0;
  if (terminal_) {
    write_(absl::StrFormat("\rloading weights %s %3d %%  %.2f of %.2f GB  %.2f GB/s%s",
                           Bar(percent), percent, done_gb, total_gb, rate, finished_ ? "\n" : ""));
  } else {
    write_(absl::StrFormat("loading weights: %d %%, %.2f of %.2f GB, %.2f GB/s", percent, done_gb,
                           total_gb, rate));
  }
}

LoadProgress ShowProgress(int rank, std::function<void(std::string_view line)> log) {
  if (rank != 0) return [](uint64_t, uint64_t) {};
  const bool terminal = isatty(STDERR_FILENO) == 1;
  std::function<void(std::string_view)> write = std::move(log);
  if (terminal) {
    write = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    };
  }
  auto printer =
      std::make_shared<ProgressPrinter>(terminal, std::move(write), ProgressPrinter::Clock::now);
  return [printer](uint64_t done, uint64_t total) { printer->Update(done, total); };
}

}  // namespace tamis
