#include "capture/host/tenant.h"

#include <algorithm>

#include "base/json.h"
#include "base/shifted_memory.h"
#include "base/text.h"
#include "capture/command_line_secrets.h"
#include "capture/guest_pages.h"
#include "capture/host/kvm_state_memory.h"
#include "capture/memory_pages.h"
#include "guest/kvm_host/slot_memory.h"

namespace hvd {
namespace {

using namespace linux_guest;
using nlohmann::json;

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

json facts_of(const VirtualMachine& machine, const SlotMemory& ram, const SlotMemory& vmm,
              const KvmStateMemory* kvm) {
  json ranges = json::array(), threads = json::array();
  for (const PhysRange& range : ram.ranges())
    ranges.push_back({range.begin.value, range.size, "ram"});
  for (const PhysRange& range : above_base(vmm.ranges()))
    ranges.push_back({range.begin.value, range.size, "vmm"});
  for (const PhysRange& range : kvm ? kvm->ranges() : std::vector<PhysRange>())
    ranges.push_back({range.begin.value, range.size, "kvm"});
  for (const VirtualCpu& cpu : machine.cpus) {
    json entry{{"vcpu", cpu.id}, {"tid", cpu.pid}, {"in_guest", cpu.in_guest}};
    if (cpu.host_cpu) entry["host_cpu"] = *cpu.host_cpu;
    threads.push_back(std::move(entry));
  }
  return {{"address_space", "physical"},
          {"uuid", machine.uuid},
          {"encrypted", machine.encrypted},
          {"ranges", std::move(ranges)},
          {"vmm",
           {{"pid", machine.pid},
            {"base", kVmmBase},
            {"kvm", kvm ? kvm->list() : json::array()},
            {"command_line", without_secrets(machine.command_line)},
            {"vcpus", std::move(threads)}}}};
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
  const auto write = [&]() -> Result<PipelineResult> {
    json facts = facts_of(machine, *ram, own, kvms);
    tell_left_out(facts, *pages, policy);
    HVD_TRY((*partition)->facts(to_text(facts)));
    if (const auto& note = pages->found_note()) HVD_TRY((*partition)->note(*note));
    for (const Registers& cpu : registers) HVD_TRY((*partition)->registers(cpu));
    std::vector<const PhysicalMemory*> beside{&moved};
    if (kvms) beside.push_back(kvms);
    std::uint64_t size = total_size(ram->ranges());
    for (const PhysicalMemory* memory : beside) size += total_size(memory->ranges());
    Progress progress("Capturing " + printable(name), size);
    PipelineOptions options = session.pipeline();
    options.mark = [&](std::uint64_t first, std::size_t count) {
      return pages->marks(first, count);
    };
    PipelineResult result =
        HVD_TRY(write_memory(MemoryPages(allowed), **partition, options, progress));
    PageMark vmm{PageClass::kVmm, {}};
    if (pages->level() != GuestLevel::kFull) vmm.left_out = Absence::kFilteredClass;
    options.mark = [vmm](std::uint64_t, std::size_t count) {
      return std::vector<PageMark>(count, vmm);
    };
    for (const PhysicalMemory* memory : beside) {
      const PipelineResult more =
          HVD_TRY(write_memory(MemoryPages(*memory), **partition, options, progress));
      result.unreadable_pages += more.unreadable_pages;
      result.over_budget_pages += more.over_budget_pages;
      result.replaced_pages += more.replaced_pages;
      result.swapped_pages += more.swapped_pages;
    }
    return result;
  };
  return session.end(name, **partition, write(), std::move(problems));
}

}  // namespace hvd
