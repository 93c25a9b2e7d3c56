// SPDX-License-Identifier: Apache-2.0
// Redraws at most ten times a second.
#include "launcher/progress.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "spdlog/spdlog.h"

namespace tamis {

Progress::Progress(bool visible)
    : visible_(visible),
      terminal_(isatty(STDERR_FILENO) == 1),
      last_(std::chrono::steady_clock::now()) {}

void Progress::Update(uint64_t done_bytes, uint64_t total_bytes) {
  if (!visible_ || finished_ || total_bytes == 0) return;
  constexpr double kMiB = 1 << 20;
  const bool done = done_bytes >= total_bytes;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (!done && now - last_ < pause) return;
  last_ = now;
  finished_ = done;
  const double part = static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const double done_mib = static_cast<double>(done_bytes) / kMiB;
  const double total_mib = static_cast<double>(total_bytes) / kMiB;
  if (!terminal_) {
    spdlog::info("weights: {:.0f} of {:.0f} MiB", done_mib, total_mib);
    return;
  }
  constexpr size_t kWidth = 40;
  std::string bar(kWidth, ' ');
  bar.replace(0, static_cast<size_t>(part * kWidth), static_cast<size_t>(part * kWidth), '=');
  std::fprintf(stderr, "\rweights [%s] %.0f of %.0f MiB%s", bar.c_str(), done_mib, total_mib,
               done ? "\n" : "");
}

}  // namespace tamis
