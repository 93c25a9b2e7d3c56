// SPDX-License-Identifier: Apache-2.0
// Signals as ordinary calls: the handler only writes a byte into a pipe, and a thread of ours reads
// it. Blocking signals instead would not do: libraries start threads before main, and a signal
// that reaches one of those would kill the process.
#pragma once

#include <functional>
#include <initializer_list>
#include <thread>

namespace tamis {

// From here on the process survives `signals`, also those that it was started with blocked; they
// wait in the pipe until a SignalThread takes them. Call from the main thread, before MPI starts.
void CatchSignals(std::initializer_list<int> signals);

// Calls `on_signal` from a thread of its own for each caught signal. One at a time.
class SignalThread {
 public:
  explicit SignalThread(std::function<void(int signal)> on_signal);
  // Waits for a running call to end.
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  std::thread thread_;
};

}  // namespace tamis
