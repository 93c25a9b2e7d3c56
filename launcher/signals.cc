// SPDX-License-Identifier: Apache-2.0
// The pipe is the one thing a handler can reach, so it is the program's only global. It does not
// block: should nobody read, further signals are dropped.
#include "launcher/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "kernels/check.h"

namespace tamis {
namespace {

int signal_pipe[2] = {-1, -1};  // read end, write end; set before the first handler stands
constexpr char kEnd = 0;        // no signal has this number

void Write(char byte) {
  const int saved_errno = errno;
  // A full pipe holds more signals than anyone will act on.
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &byte, 1);
  errno = saved_errno;
}

void Handle(int signal) { Write(static_cast<char>(signal)); }

}  // namespace

void CatchSignals(std::initializer_list<int> signals) {
  if (signal_pipe[0] < 0) {
    CHECK(pipe2(signal_pipe, O_CLOEXEC) == 0) << "no pipe for signals";
    CHECK(fcntl(signal_pipe[1], F_SETFL, O_NONBLOCK) == 0) << "the signal pipe blocks";
  }
  struct sigaction action = {};
  action.sa_handler = Handle;
  action.sa_flags = SA_RESTART;
  for (const int signal : signals) {
    CHECK(sigaction(signal, &action, nullptr) == 0) << "no handler for signal " << signal;
  }
  // A mask is inherited from whoever started the program, and a blocked signal would wait for ever.
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : signals) sigaddset(&caught, signal);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &caught, nullptr) == 0) << "the signals stay blocked";
}

SignalThread::SignalThread(std::function<void(int signal)> on_signal)
    : thread_([call = std::move(on_signal)] {
        char byte = kEnd;
        while (true) {
          const ssize_t count = read(signal_pipe[0], &byte, 1);
          if (count == 1 && byte == kEnd) return;
          if (count == 1) call(byte);
        }
      }) {}

SignalThread::~SignalThread() {
  Write(kEnd);
  thread_.join();
}

}  // namespace tamis
