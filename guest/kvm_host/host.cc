#include "guest/kvm_host/host.h"

#include <algorithm>

namespace hvd::linux_guest {

Result<bool> is_kernel_thread(const Kernel& kernel, VirtAddr task) {
  constexpr std::uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD (include/linux/sched.h)
  const Types* types = HVD_TRY(kernel.need_types());
  const Member flags = HVD_TRY(types->member("task_struct", "flags"));
  return (HVD_TRY(kernel.field(task, flags)) & kKernelThread) != 0;
}

VmmProcesses::VmmProcesses(const std::vector<VirtualMachine>& machines, bool complete)
    : complete_(complete) {
  for (const VirtualMachine& machine : machines) mms_.push_back(machine.mm.value);
}

bool VmmProcesses::may_include(std::uint64_t mm) const {
  if (mm == 0) return false;
  return !complete_ || std::find(mms_.begin(), mms_.end(), mm) != mms_.end();
}

Result<bool> VmmProcesses::may_run(const Kernel& kernel, VirtAddr task) const {
  const Types* types = HVD_TRY(kernel.need_types());
  const Member mm = HVD_TRY(types->member("task_struct", "mm"));
  const std::uint64_t its = HVD_TRY(kernel.field(task, mm));
  if (its != 0) return may_include(its);
  // A process that is on its way out has lost its memory already, and not yet its stack.
  return !HVD_TRY(is_kernel_thread(kernel, task)) && (!complete_ || !mms_.empty());
}

Host Host::read(const Kernel& kernel, std::vector<std::string>& problems) {
  std::vector<std::string> met = kernel.problems();
  std::vector<Module> modules = read_modules(kernel, met);
  std::vector<VirtualMachine> machines = read_virtual_machines(kernel, modules, met);
  const VmmProcesses vmms(machines, met.empty());
  problems.insert(problems.end(), met.begin(), met.end());
  return {kernel, std::move(modules), std::move(machines), vmms};
}

}  // namespace hvd::linux_guest
