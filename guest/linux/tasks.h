// Tasks: every thread of the captured kernel, and what each CPU was running
// (include/linux/sched.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct Task {
  VirtAddr struct_at;
  std::int32_t pid = 0, tgid = 0;
  std::string comm;
  std::string state;            // as ps and crash write it: R, S, D, T, t, X, Z, P, I
  std::optional<unsigned> cpu;  // last one it ran on
  bool on_cpu = false;          // running when the dump was made
  VirtAddr saved_sp;            // where its stack continues when it sleeps
  bool has_stack = true;        // a dead task's stack is freed and may be another's by now
};

/// One task by its address.
Result<Task> read_task(const Kernel& kernel, VirtAddr task);

/// All threads, by process; the idle tasks of the CPUs come first. Damaged lists end early and are
/// told in `problems`.
std::vector<Task> read_tasks(const Kernel& kernel, std::vector<std::string>& problems);

/// What CPU `cpu` was running.
Result<VirtAddr> current_task(const Kernel& kernel, unsigned cpu);

}  // namespace hvd::linux_guest
