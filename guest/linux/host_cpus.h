// What the CPUs of a dead host were on, and what of that is the kernel's own: registers and stacks
// hold what processes and guests had in their registers until the kernel has put it away.
#pragma once

#include <vector>

#include "guest/linux/kvm.h"
#include "guest/linux/tasks.h"

namespace hvd::linux_guest {

/// Which processes run virtual machines: what the kernel has of them may be a tenant's.
class VmmProcesses {
 public:
  /// `complete` says that there can be no machine but these; otherwise any process may be a VMM.
  /// `machines` must outlive the result.
  VmmProcesses(const std::vector<VirtualMachine>& machines, bool complete)
      : machines_(machines), complete_(complete) {}
  bool complete() const { return complete_; }
  const std::vector<VirtualMachine>& machines() const { return machines_; }
  /// `mm`: task_struct.mm; kernel threads have none.
  bool may_include(std::uint64_t mm) const;
  /// `task`: a struct task_struct; true also of a process that is exiting, whose memory nothing
  /// leads to any more.
  Result<bool> may_run(const Kernel& kernel, VirtAddr task) const;

 private:
  const std::vector<VirtualMachine>& machines_;
  bool complete_;
};

/// PF_KTHREAD: `task` is the kernel's own, and no process.
Result<bool> is_kernel_thread(const Kernel& kernel, VirtAddr task);

/// Of the registers of `cpu` what may be seen. A CPU in user mode has that process's, one at the
/// kernel's very entry or exit may still have them, and one in the kernel on behalf of a VMM may
/// have the guest's: then where it was is all there is. Null when its registers are not known.
std::optional<Registers> visible_registers(const Kernel& host, unsigned cpu,
                                           const VmmProcesses& vmms);

/// Where a stack's live part begins.
struct LivePart {
  VirtAddr begin;
  bool known = true;  // or else the whole stack may be live, and anything be in it
};

/// Of the kernel stack [begin, end) of `task`.
LivePart live_part(const Kernel& host, const Task& task, VirtAddr begin, VirtAddr end);

}  // namespace hvd::linux_guest
