#include "guest/linux/host_cpus.h"

#include <algorithm>

namespace hvd::linux_guest {
namespace {

// In doubt it was.
bool in_user_mode(const Registers& cpu) {
  return !cpu.knows(Reg::kCs) || !cpu.knows(Reg::kRip) || (cpu[Reg::kCs] & 3) != 0;
}

// Between an entry from user mode and the instruction that clears the registers, and again once
// they are restored: all of that is in one section (arch/x86/entry/entry_64.S).
bool at_entry(const Kernel& host, const Registers& cpu) {
  const auto begin = host.symbol("__entry_text_start"), end = host.symbol("__entry_text_end");
  if (!begin || !end) return true;
  const VirtAddr at{cpu[Reg::kRip]};
  return *begin <= at && at < *end;
}

// Since v6.2 in a structure with what else is used all the time ("x86/percpu: Move irq_stack
// variables next to current_task"), and on its own again since v6.15.
Result<VirtAddr> irq_stack_pointer(const Kernel& host, unsigned cpu) {
  if (const auto alone = host.per_cpu("hardirq_stack_ptr", cpu)) return *alone;
  const VirtAddr hot = HVD_TRY(host.per_cpu("pcpu_hot", cpu));
  const Types* types = HVD_TRY(host.need_types());
  const Member member = HVD_TRY(types->member("pcpu_hot", "hardirq_stack_ptr"));
  return hot + member.offset;
}

// The stack that was left for the interrupt stack: its pointer is the first thing on that
// (arch/x86/include/asm/irq_stack.h).
Result<VirtAddr> below_irq_stack(const Kernel& host, unsigned cpu, VirtAddr sp) {
  const VirtAddr pointer = HVD_TRY(irq_stack_pointer(host, cpu));
  const VirtAddr top{HVD_TRY(host.memory().read_u64(pointer))};
  const Types* types = HVD_TRY(host.need_types());
  const std::uint64_t size = HVD_TRY(types->size_of("irq_stack"));
  if (sp > top || top - sp >= size)
    return Error{ErrorCode::kNotFound, "the CPU is not on its interrupt stack"};
  return VirtAddr{HVD_TRY(host.memory().read_u64(top))};
}

}  // namespace

Result<bool> is_kernel_thread(const Kernel& kernel, VirtAddr task) {
  constexpr std::uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD (include/linux/sched.h)
  const Types* types = HVD_TRY(kernel.need_types());
  const Member flags = HVD_TRY(types->member("task_struct", "flags"));
  return (HVD_TRY(kernel.field(task, flags)) & kKernelThread) != 0;
}

Result<bool> VmmProcesses::may_run(const Kernel& kernel, VirtAddr task) const {
  const Types* types = HVD_TRY(kernel.need_types());
  const Member mm = HVD_TRY(types->member("task_struct", "mm"));
  const std::uint64_t its = HVD_TRY(kernel.field(task, mm));
  if (its != 0) return may_include(its);
  // A process that is on its way out has lost its memory already, and not yet its stack.
  return !HVD_TRY(is_kernel_thread(kernel, task)) && (!complete_ || !machines_.empty());
}

bool VmmProcesses::may_include(std::uint64_t mm) const {
  if (mm == 0) return false;
  return !complete_ || std::any_of(machines_.begin(), machines_.end(),
                                   [&](const VirtualMachine& m) { return m.mm.value == mm; });
}

std::optional<Registers> visible_registers(const Kernel& host, unsigned cpu,
                                           const VmmProcesses& vmms) {
  const Registers* all = host.registers_of(cpu);
  if (!all) return std::nullopt;
  const auto for_vmm = [&]() -> Result<bool> {
    const VirtAddr task = HVD_TRY(current_task(host, cpu));
    return vmms.may_run(host, task);
  };
  const bool users = in_user_mode(*all) || at_entry(host, *all);
  const auto vmm = for_vmm();
  if (!users && vmm && !*vmm) return *all;
  Registers out;
  out.id = all->id;
  for (const Reg reg :
       {Reg::kRip, Reg::kRsp, Reg::kRbp, Reg::kRflags, Reg::kCs, Reg::kSs, Reg::kCr0, Reg::kCr3,
        Reg::kCr4, Reg::kEfer, Reg::kGsBase, Reg::kKernelGsBase}) {
    if (users && reg == Reg::kRbp) continue;  // any value at all
    if (const auto value = all->get(reg)) out.set(reg, *value);
  }
  return out;
}

LivePart live_part(const Kernel& host, const Task& task, VirtAddr begin, VirtAddr end) {
  const auto within = [&](VirtAddr at) { return begin <= at && at < end; };
  if (!task.on_cpu) return {within(task.saved_sp) ? task.saved_sp : end};
  const Registers* cpu = task.cpu ? host.registers_of(*task.cpu) : nullptr;
  if (!cpu) return {begin, false};
  if (in_user_mode(*cpu)) return {end};
  const VirtAddr sp{(*cpu)[Reg::kRsp]};
  if (within(sp)) return {sp};
  const auto below = below_irq_stack(host, *task.cpu, sp);
  if (below && within(*below)) return {*below};
  return {begin, false};
}

}  // namespace hvd::linux_guest
