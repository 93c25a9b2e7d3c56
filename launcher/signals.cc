// SPDX-License-Identifier: Apache-2.0
// The waiting thread is woken for its end by one of its own signals, sent to it alone.
#include "launcher/signals.h"

#include <stop_token>
#include <utility>

namespace tamis {
namespace {

sigset_t SetOf(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

}  // namespace

void BlockSignals(std::initializer_list<int> signals) {
  const sigset_t set = SetOf(signals);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalThread::SignalThread(std::initializer_list<int> signals,
                           std::function<void(int signal)> on_signal)
    : wake_signal_(*signals.begin()),
      thread_([set = SetOf(signals), call = std::move(on_signal)](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          int signal = 0;
          if (sigwait(&set, &signal) == 0 && !stop.stop_requested()) call(signal);
        }
      }) {}

SignalThread::~SignalThread() {
  thread_.request_stop();
  pthread_kill(thread_.native_handle(), wake_signal_);
}

}  // namespace tamis
