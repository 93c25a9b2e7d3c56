// SPDX-License-Identifier: Apache-2.0
// Signals as ordinary calls: they are blocked in every thread and a thread of ours waits for them,
// so nothing runs inside a signal handler.
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>
#include <thread>

namespace tamis {

// Blocks `signals` in this thread and in all threads made after. Call before any thread (and
// before MPI starts): one that arrives meanwhile stays pending instead of killing the process.
void BlockSignals(std::initializer_list<int> signals);

// Calls `on_signal` from a thread of its own for each of the blocked `signals` that arrives.
class SignalThread {
 public:
  SignalThread(std::initializer_list<int> signals, std::function<void(int signal)> on_signal);
  // Waits for a running call to end.
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  int wake_signal_;
  std::jthread thread_;
};

}  // namespace tamis
