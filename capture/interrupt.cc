#include "capture/interrupt.h"

#include <atomic>
#include <csignal>

namespace hvd {
namespace {

std::atomic<bool> flag{false};

void on_signal(int) { flag = true; }

}  // namespace

void watch_for_interrupt() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action{};
    action.sa_handler = on_signal;
    // No SA_RESTART: waits return at once. SA_RESETHAND: a user who insists is obeyed.
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(signal, &action, nullptr);
  }
}

bool interrupted() { return flag; }

Result<void> check_interrupt() {
  if (flag) return Error{ErrorCode::kInterrupted, "interrupted"};
  return {};
}

}  // namespace hvd
