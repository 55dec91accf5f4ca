#include "guest/windows/read_cpus.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxCpus = 2048;

class CpuReader {
 public:
  explicit CpuReader(const Kernel& kernel) : kernel_(kernel) {}

  std::vector<Cpu> read() {
    if (kernel_.debugger_data()) read_processor_block();
    if (cpus_.empty()) list_registers();
    else match_registers();
    return std::move(cpus_);
  }

 private:
  // Without the kernel's own list the captured register sets have to do.
  void list_registers() {
    const std::vector<Registers>& registers = kernel_.image().registers;
    for (const Registers& each : registers) {
      Cpu& cpu = cpus_.emplace_back();
      cpu.id = each.id, cpu.registers = &each;
    }
    if (kernel_.is_dump() && kernel_.is_arm64() && registers.empty()) {
      Cpu cpu;
      cpu.arm64 = header_registers();
      cpus_.push_back(cpu);
    }
    const auto part = triage_prcb();
    if (!part || cpus_.empty()) return;
    cpus_.front().crashed = true;
    cpus_.front().id = part->first;
    cpus_.front().thread = part->second;
  }

  void match_registers() {
    const std::vector<Registers>& registers = kernel_.image().registers;
    const bool own_dump = kernel_.is_dump();
    for (Cpu& cpu : cpus_) {
      const VirtAddr pcr = cpu.prcb - kernel_.debugger_data()->data.pcr_prcb();
      for (const Registers& each : registers) {
        const bool its = each[Reg::kGsBase] == pcr.value || each[Reg::kKernelGsBase] == pcr.value;
        if (its) cpu.registers = &each;
      }
      // A capture numbers CPUs as the machine does; a dump of Windows' own has one set of
      // registers, the crashing CPU's.
      if (!cpu.registers && !own_dump && cpu.id < registers.size() && !matched(registers[cpu.id]))
        cpu.registers = &registers[cpu.id];
    }
    if (own_dump && kernel_.is_arm64()) crashing_arm64_cpu();
    else if (own_dump && !registers.empty()) crashing_cpu(registers.front());
  }

  bool matched(const Registers& registers) const {
    return std::any_of(cpus_.begin(), cpus_.end(),
                       [&](const Cpu& cpu) { return cpu.registers == &registers; });
  }

  // The one whose saved context has the same stack. A triage dump keeps the crashing CPU's own
  // block, with its number. The header's registers may be those of an exception that led to the bug
  // check: what the CPU itself was in is what is saved.
  void crashing_cpu(const Registers& registers) {
    const auto choose = [&](auto is_it) {
      const auto cpu = std::find_if(cpus_.begin(), cpus_.end(), is_it);
      if (cpu == cpus_.end()) return false;
      if (!cpu->saved) cpu->registers = &registers;
      cpu->crashed = true;
      return true;
    };
    const auto part = triage_prcb();
    if (part && choose([&](const Cpu& cpu) { return cpu.id == part->first; })) return;
    if (choose([&](const Cpu& cpu) {
          return cpu.saved && (*cpu.saved)[Reg::kRsp] == registers[Reg::kRsp];
        }))
      return;
    choose([](const Cpu& cpu) { return !cpu.saved; });
  }

  // As above, of an ARM64 system.
  void crashing_arm64_cpu() {
    const auto its = header_registers();
    const auto part = triage_prcb();
    for (Cpu& cpu : cpus_) {
      const bool same = its && cpu.arm64 && cpu.arm64->sp == its->sp;
      if (part ? cpu.id != part->first : !same) continue;
      cpu.crashed = true;
      if (!cpu.arm64) cpu.arm64 = its;
      return;
    }
    const auto bare =
        std::find_if(cpus_.begin(), cpus_.end(), [](const Cpu& cpu) { return !cpu.arm64; });
    if (!its || bare == cpus_.end()) return;
    bare->crashed = true;
    bare->arm64 = its;
  }

  std::optional<Arm64Registers> header_registers() const {
    ContextArm64 context{};
    std::memcpy(&context, kernel_.header()->context, sizeof context);
    return registers_of(context);
  }

  void read_processor_block() {
    const DebuggerData& data = kernel_.debugger_data()->data;
    std::size_t expected = kernel_.image().registers.size();
    if (kernel_.header() && kernel_.header()->processors <= kMaxCpus)
      expected = std::max<std::size_t>(expected, kernel_.header()->processors);
    std::set<std::uint64_t> seen;
    for (std::size_t i = 0; i < std::min(expected, kMaxCpus); ++i) {
      const auto prcb = kernel_.space().read_u64(data.processor_block() + i * 8);
      if (!prcb || *prcb >> 63 == 0 || !seen.insert(*prcb).second) break;
      Cpu cpu;
      cpu.id = static_cast<std::uint32_t>(i);
      cpu.prcb = VirtAddr{*prcb};
      if (const auto thread = kernel_.space().read_u64(cpu.prcb + data.prcb_current_thread()))
        cpu.thread = VirtAddr{*thread};
      const auto context_at = kernel_.space().read_u64(cpu.prcb + data.prcb_context());
      if (context_at && data.prcb_context() != 0) read_context(cpu, VirtAddr{*context_at});
      cpus_.push_back(cpu);
    }
  }

  void read_context(Cpu& cpu, VirtAddr at) const {
    if (kernel_.is_arm64()) {
      const auto context = kernel_.space().read<ContextArm64>(at);
      if (context) cpu.arm64 = registers_of(*context);
      if (cpu.arm64 && cpu.arm64->pc == 0) cpu.arm64.reset();
      return;
    }
    const auto context = kernel_.space().read<Context64>(at);
    const Registers saved = context ? registers_of(*context) : Registers();
    if (!saved.knows(Reg::kRip) || saved[Reg::kRip] == 0) return;
    cpu.saved = saved;
    cpu.saved->id = cpu.id;
  }

  // The number and the thread of the CPU whose block a triage dump keeps.
  std::optional<std::pair<std::uint32_t, VirtAddr>> triage_prcb() const {
    const Bytes* part = note_of(kernel_.image(), "TRIAGE_PRCB");
    if (!kernel_.debugger_data() || !part) return std::nullopt;
    const auto at = [&](std::size_t offset, std::size_t size) -> std::uint64_t {
      le64 value = 0;
      if (offset + size > part->size()) return 0;
      std::memcpy(&value, part->data() + offset, size);
      return value;
    };
    const DebuggerData& data = kernel_.debugger_data()->data;
    return std::pair{static_cast<std::uint32_t>(at(data.prcb_number(), 4)),
                     VirtAddr{at(data.prcb_current_thread(), 8)}};
  }

  const Kernel& kernel_;
  std::vector<Cpu> cpus_;
};

}  // namespace

std::vector<Cpu> read_cpus(const Kernel& kernel) { return CpuReader(kernel).read(); }

}  // namespace hvd::windows
