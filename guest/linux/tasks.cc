#include "guest/linux/tasks.h"

#include <algorithm>
#include <unordered_set>

#include "base/text.h"
#include "guest/linux/list_walk.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxTasks = 1u << 20;
constexpr std::size_t kCommLength = 16;  // TASK_COMM_LEN

// Member offsets, asked once: there are thousands of tasks.
struct TaskLayout {
  Member tasks, pid, tgid, comm, state, exit_state, signal, thread_node, thread_head, sp;
  std::optional<Member> cpu, on_cpu, stack_refcount;

  static Result<TaskLayout> from(const Types& types) {
    TaskLayout out;
    out.tasks = HVD_TRY(types.member("task_struct", "tasks"));
    out.pid = HVD_TRY(types.member("task_struct", "pid"));
    out.tgid = HVD_TRY(types.member("task_struct", "tgid"));
    out.comm = HVD_TRY(types.member("task_struct", "comm"));
    // Renamed in Linux commit 2f064a59a11f ("sched: Change task_struct::state", v5.14).
    out.state = HVD_TRY(types.first_member_of("task_struct", {"__state", "state"}));
    out.exit_state = HVD_TRY(types.member("task_struct", "exit_state"));
    out.signal = HVD_TRY(types.member("task_struct", "signal"));
    out.thread_node = HVD_TRY(types.member("task_struct", "thread_node"));
    out.thread_head = HVD_TRY(types.member("signal_struct", "thread_head"));
    out.sp = HVD_TRY(types.member("task_struct", "thread.sp"));
    // In thread_info since commit bcf9033e5449 (v5.16), a member of its own before; absent without
    // SMP.
    if (auto cpu = types.first_member_of("task_struct", {"thread_info.cpu", "cpu"})) out.cpu = *cpu;
    if (auto on_cpu = types.member("task_struct", "on_cpu")) out.on_cpu = *on_cpu;
    // With CONFIG_THREAD_INFO_IN_TASK (x86-64: since v4.9) the stack is freed before the task is.
    if (auto count = types.member("task_struct", "stack_refcount")) out.stack_refcount = *count;
    return out;
  }
};

// include/linux/sched.h: the numbers of task states and, in this order, the letters /proc uses
// (fs/proc/array.c, task_state_array).
std::string state_letter(std::uint64_t state, std::uint64_t exit_state) {
  constexpr std::uint64_t kReport = 0x7f, kIdle = 0x402, kRtLockWait = 0x1000, kFrozen = 0x8000;
  const std::uint64_t all = state | exit_state;
  if ((state & kIdle) == kIdle) return "I";
  if (all & kRtLockWait) return "D";
  if (all & kFrozen) return "D";
  const std::uint64_t report = all & kReport;
  if (report == 0) return "R";
  static constexpr std::string_view kLetters = "SDTtXZP";
  for (std::size_t bit = kLetters.size(); bit-- > 0;) {
    if ((report >> bit) & 1) return std::string(1, kLetters[bit]);
  }
  return "?";
}

Result<Task> read_with(const Kernel& kernel, const TaskLayout& layout, VirtAddr at) {
  Task task;
  task.struct_at = at;
  task.pid = static_cast<std::int32_t>(HVD_TRY(kernel.field(at, layout.pid)));
  task.tgid = static_cast<std::int32_t>(HVD_TRY(kernel.field(at, layout.tgid)));
  task.comm = HVD_TRY(kernel.memory().read_string(at + layout.comm.offset, kCommLength));
  const std::uint64_t state = HVD_TRY(kernel.field(at, layout.state));
  const std::uint64_t exit_state = HVD_TRY(kernel.field(at, layout.exit_state));
  task.state = state_letter(state, exit_state);
  task.saved_sp = VirtAddr{HVD_TRY(kernel.field(at, layout.sp))};
  if (layout.stack_refcount)
    task.has_stack = HVD_TRY(kernel.field(at, *layout.stack_refcount)) != 0;
  if (layout.cpu) task.cpu = static_cast<unsigned>(HVD_TRY(kernel.field(at, *layout.cpu)));
  if (layout.on_cpu) task.on_cpu = HVD_TRY(kernel.field(at, *layout.on_cpu)) != 0;
  return task;
}

}  // namespace

Result<Task> read_task(const Kernel& kernel, VirtAddr task) {
  const Types& types = *HVD_TRY(kernel.need_types());
  const TaskLayout layout = HVD_TRY(TaskLayout::from(types));
  return read_with(kernel, layout, task);
}

Result<VirtAddr> current_task(const Kernel& kernel, unsigned cpu) {
  // `current_task` was a per-CPU variable of its own, was part of pcpu_hot from v6.2 to v6.14
  // (commit e57ef2ed97c1), and is one of its own again.
  if (kernel.symbols().find("pcpu_hot") && kernel.types() && kernel.types()->has("pcpu_hot")) {
    const Member member = HVD_TRY(kernel.types()->member("pcpu_hot", "current_task"));
    const VirtAddr hot = HVD_TRY(kernel.per_cpu("pcpu_hot", cpu));
    return VirtAddr{HVD_TRY(kernel.field(hot, member))};
  }
  const VirtAddr at = HVD_TRY(kernel.per_cpu("current_task", cpu));
  return VirtAddr{HVD_TRY(kernel.memory().read_u64(at))};
}

std::vector<Task> read_tasks(const Kernel& kernel, std::vector<std::string>& problems) {
  std::vector<Task> tasks;
  std::unordered_set<std::uint64_t> seen, signals;
  const auto read_all = [&]() -> Result<void> {
    const Types& types = *HVD_TRY(kernel.need_types());
    const TaskLayout layout = HVD_TRY(TaskLayout::from(types));
    const auto add = [&](VirtAddr at) {
      if (!seen.insert(at.value).second) return;
      auto task = read_with(kernel, layout, at);
      if (task) tasks.push_back(std::move(*task));
      else
        problems.push_back("the task at " + hex(at.value) +
                           " cannot be read: " + task.error().message);
    };
    const VirtAddr init = HVD_TRY(kernel.symbol("init_task"));
    add(init);
    // The other CPUs' idle tasks are on no list.
    for (unsigned cpu = 0; cpu < kernel.cpu_count(); ++cpu) {
      const auto current = current_task(kernel, cpu);
      const auto pid =
          current ? kernel.field(*current, layout.pid) : Result<std::uint64_t>(current.error());
      if (pid && *pid == 0) add(*current);
    }
    return walk_list(kernel.memory(), init + layout.tasks.offset, kMaxTasks, [&](VirtAddr node) {
      const VirtAddr leader = node - layout.tasks.offset;
      add(leader);
      const auto signal = kernel.field(leader, layout.signal);
      // Each process has its own list; one that many share is a lie, and walking it each time would
      // not end.
      if (!signal || !signals.insert(*signal).second) return true;
      const VirtAddr head = VirtAddr{*signal} + layout.thread_head.offset;
      auto threads = walk_list(kernel.memory(), head, kMaxTasks, [&](VirtAddr thread) {
        add(thread - layout.thread_node.offset);
        return tasks.size() < kMaxTasks;
      });
      if (!threads)
        problems.push_back("the threads of the task at " + hex(leader.value) + ": " +
                           threads.error().message);
      return tasks.size() < kMaxTasks;
    });
  };
  if (auto done = read_all(); !done) problems.push_back("tasks: " + done.error().message);
  return tasks;
}

}  // namespace hvd::linux_guest
