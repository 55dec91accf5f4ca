#include "guest/kvm_host/host_cpus.h"

namespace hvd::linux_guest {
namespace {

// In doubt it was.
bool in_user_mode(const Registers& cpu) {
  return !cpu.knows(Reg::kCs) || !cpu.knows(Reg::kRip) || (cpu[Reg::kCs] & 3) != 0;
}

// Between an entry from user mode and the instruction that clears the registers, and again once
// they are restored: all of that is in one section (arch/x86/entry/entry_64.S).
bool at_entry(const Kernel& kernel, const Registers& cpu) {
  const auto begin = kernel.symbol("__entry_text_start"), end = kernel.symbol("__entry_text_end");
  if (!begin || !end) return true;
  const VirtAddr at{cpu[Reg::kRip]};
  return *begin <= at && at < *end;
}

// Since v6.2 in a structure with what else is used all the time ("x86/percpu: Move irq_stack
// variables next to current_task"), and on its own again since v6.15.
Result<VirtAddr> irq_stack_pointer(const Kernel& kernel, unsigned cpu) {
  if (const auto alone = kernel.per_cpu("hardirq_stack_ptr", cpu)) return *alone;
  const VirtAddr hot = HVD_TRY(kernel.per_cpu("pcpu_hot", cpu));
  const Types* types = HVD_TRY(kernel.need_types());
  const Member member = HVD_TRY(types->member("pcpu_hot", "hardirq_stack_ptr"));
  return hot + member.offset;
}

// The stack that was left for the interrupt stack: its pointer is the first thing on that
// (arch/x86/include/asm/irq_stack.h).
Result<VirtAddr> below_irq_stack(const Kernel& kernel, unsigned cpu, VirtAddr sp) {
  const VirtAddr pointer = HVD_TRY(irq_stack_pointer(kernel, cpu));
  const VirtAddr top{HVD_TRY(kernel.memory().read_u64(pointer))};
  const Types* types = HVD_TRY(kernel.need_types());
  const std::uint64_t size = HVD_TRY(types->size_of("irq_stack"));
  if (sp > top || top - sp >= size)
    return Error{ErrorCode::kNotFound, "the CPU is not on its interrupt stack"};
  return VirtAddr{HVD_TRY(kernel.memory().read_u64(top))};
}

}  // namespace

std::optional<Registers> visible_registers(const Host& host, unsigned cpu) {
  const Registers* all = host.kernel.registers_of(cpu);
  if (!all) return std::nullopt;
  const auto for_vmm = [&]() -> Result<bool> {
    const VirtAddr task = HVD_TRY(current_task(host.kernel, cpu));
    return host.vmms.may_run(host.kernel, task);
  };
  const bool users = in_user_mode(*all) || at_entry(host.kernel, *all);
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

LivePart live_part(const Kernel& kernel, const Task& task, VirtAddr begin, VirtAddr end) {
  const auto within = [&](VirtAddr at) { return begin <= at && at < end; };
  if (!task.on_cpu) return {within(task.saved_sp) ? task.saved_sp : end};
  const Registers* cpu = task.cpu ? kernel.registers_of(*task.cpu) : nullptr;
  if (!cpu) return {begin, false};
  if (in_user_mode(*cpu)) return {end};
  const VirtAddr sp{(*cpu)[Reg::kRsp]};
  if (within(sp)) return {sp};
  const auto below = below_irq_stack(kernel, *task.cpu, sp);
  if (below && within(*below)) return {*below};
  return {begin, false};
}

}  // namespace hvd::linux_guest
