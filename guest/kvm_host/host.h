// Host: a Linux that runs virtual machines, as everything that splits its memory by owner sees it.
#pragma once

#include <vector>

#include "guest/kvm_host/virtual_machines.h"

namespace hvd::linux_guest {

/// PF_KTHREAD: `task` is the kernel's own, not a process.
Result<bool> is_kernel_thread(const Kernel& kernel, VirtAddr task);

/// Which processes run virtual machines: what the kernel has of them may be a tenant's.
class VmmProcesses {
 public:
  /// `complete` says that there can be no machine but these; otherwise any process may be a VMM.
  VmmProcesses(const std::vector<VirtualMachine>& machines, bool complete);
  bool complete() const { return complete_; }
  /// `mm`: task_struct.mm; kernel threads have none.
  bool may_include(std::uint64_t mm) const;
  /// `task`: a struct task_struct; true also of a process that is exiting, whose memory nothing
  /// leads to any more.
  Result<bool> may_run(const Kernel& kernel, VirtAddr task) const;

 private:
  std::vector<std::uint64_t> mms_;  // struct mm_struct of each machine's process
  bool complete_;
};

struct Host {
  /// Reads the modules and the virtual machines of `kernel`, which must outlive the result. What
  /// could not be read, of the kernel itself too, is added to `problems`: each may have hidden a
  /// VM, and then `vmms` is not complete.
  static Host read(const Kernel& kernel, std::vector<std::string>& problems);

  const Kernel& kernel;
  std::vector<Module> modules;
  std::vector<VirtualMachine> machines;
  VmmProcesses vmms;
};

}  // namespace hvd::linux_guest
