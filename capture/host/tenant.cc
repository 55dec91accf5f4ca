#include "capture/host/tenant.h"

#include <algorithm>

#include "base/shifted_memory.h"
#include "base/text.h"
#include "capture/command_line_secrets.h"
#include "capture/guest_pages.h"
#include "capture/host/kvm_state_memory.h"
#include "guest/kvm_host/slot_memory.h"

namespace hvd {
namespace {

using namespace linux_guest;

// Where a partition has a process's memory.
std::vector<PhysRange> above_base(std::vector<PhysRange> ranges) {
  for (PhysRange& range : ranges) range.begin = range.begin + kVmmBase;
  return ranges;
}

// What the VMM has written for itself: private memory that is not the guest's RAM. Device buffers
// in it hold guest bytes, so it is the tenant's as well.
std::vector<MemorySlot> private_memory(const ProcessMemory& vmm,
                                       const std::vector<MemorySlot>& guest_ram) {
  std::vector<MemorySlot> out;
  for (const VmArea& area : vmm.areas()) {
    if (area.shared() || !area.has_private_pages()) continue;
    VirtAddr at = area.begin;
    // The parts of the area between the slots: those are few and come by guest address.
    while (at < area.end) {
      VirtAddr stop = area.end, next = area.end;
      for (const MemorySlot& slot : guest_ram) {
        const VirtAddr begin = slot.host, end = slot.host + slot.range.size;
        if (begin <= at && at < end) {
          stop = at;
          next = std::min(area.end, end);
          break;
        }
        if (begin > at && begin < stop) stop = next = begin;
      }
      if (stop > at) out.push_back({PhysRange{PhysAddr{at.value}, stop - at}, at, false, {}});
      at = std::max(stop, next);
    }
  }
  return out;
}

Facts facts_of(const VirtualMachine& machine, const SlotMemory& ram, const SlotMemory& vmm,
               const KvmStateMemory* kvm) {
  Facts facts;
  facts.uuid = machine.uuid;
  facts.encrypted = machine.encrypted;
  for (const PhysRange& range : ram.ranges()) facts.ranges.push_back({range, "ram", {}});
  for (const PhysRange& range : above_base(vmm.ranges()))
    facts.ranges.push_back({range, "vmm", {}});
  if (kvm)
    for (const PhysRange& range : kvm->ranges()) facts.ranges.push_back({range, "kvm", {}});
  facts.vmm.emplace();
  facts.vmm->pid = machine.pid;
  facts.vmm->base = kVmmBase;
  if (kvm) facts.vmm->kvm = kvm->list();
  facts.vmm->command_line = without_secrets(machine.command_line);
  for (const VirtualCpu& cpu : machine.cpus)
    facts.vmm->vcpus.push_back({cpu.id, cpu.pid, cpu.in_guest, cpu.host_cpu});
  return facts;
}

}  // namespace

std::string tenant_name(const VirtualMachine& machine) {
  return machine.name.empty() ? "pid-" + std::to_string(machine.pid) : machine.name;
}

Result<void> write_tenant(CaptureSession& session, const Kernel& host, const KvmTypes& kvm,
                          const VirtualMachine& machine, const std::string& name) {
  const PartitionPolicy policy = session.policy().for_guest(name, machine.uuid);
  const auto not_written = [&](PartitionState state, const std::string& reason) {
    return session.not_written(name, Role::kGuest, state, reason);
  };
  if (policy.stateless) return not_written(PartitionState::kStateless, policy.note);
  if (const auto refused = refusal(policy)) return not_written(PartitionState::kFailed, *refused);
  std::vector<std::string> problems;
  const auto ram = SlotMemory::open(host, machine, problems);
  if (machine.encrypted) {
    problems.emplace_back(
        "its memory is encrypted by SEV, so that only what was never touched is "
        "known of it");
  }
  const auto process = ram->vmm();
  const SlotMemory own(process, private_memory(*process, machine.slots));
  const ShiftedMemory moved(own, 0 - kVmmBase, above_base(own.ranges()));
  const RestrictedMemory allowed(*ram, policy.restricted);
  std::vector<Registers> registers;
  for (const VirtualCpu& cpu : machine.cpus) registers.push_back(cpu.registers);
  const auto pages = GuestPages::open(allowed, registers, {}, policy.level, true);
  if (const auto short_of = pages->shortfall(policy.level)) problems.push_back(*short_of);

  const auto state = KvmStateMemory::open(host, kvm, machine);
  if (!state) problems.push_back("what KVM had of it: " + state.error().message);
  const KvmStateMemory* kvms = state ? state->get() : nullptr;

  auto partition = session.begin(name, Role::kGuest, policy);
  // A recipient that nothing can be sealed to, or no randomness: it is not written at all.
  if (!partition) return not_written(PartitionState::kFailed, partition.error().message);
  const auto write = [&]() -> Result<format::MemoryTotals> {
    Facts facts = facts_of(machine, *ram, own, kvms);
    add_excluded(facts, *pages, policy);
    HVD_TRY((*partition)->facts(facts));
    if (const auto& note = pages->found_note()) HVD_TRY((*partition)->note(*note));
    for (const Registers& cpu : registers) HVD_TRY((*partition)->registers(cpu));
    std::vector<const PhysicalMemory*> beside{&moved};
    if (kvms) beside.push_back(kvms);
    std::uint64_t size = total_size(ram->ranges());
    for (const PhysicalMemory* memory : beside) size += total_size(memory->ranges());
    Progress progress("Capturing " + printable(name), size);
    format::MemoryOptions options = session.memory_options();
    options.mark = [&](std::uint64_t first, std::size_t count) {
      return pages->marks(first, count);
    };
    format::MemoryTotals totals = HVD_TRY(write_memory(allowed, **partition, options, progress));
    format::PageMark vmm{PageClass::kVmm, {}};
    if (pages->level() != GuestLevel::kFull) vmm.excluded = Absence::kFilteredClass;
    options.mark = [vmm](std::uint64_t, std::size_t count) {
      return std::vector<format::PageMark>(count, vmm);
    };
    for (const PhysicalMemory* memory : beside)
      totals += HVD_TRY(write_memory(*memory, **partition, options, progress));
    return totals;
  };
  return session.end(name, **partition, write(), std::move(problems));
}

}  // namespace hvd
