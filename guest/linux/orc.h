// ORC: the kernel's own unwind tables, in its memory (arch/x86/include/asm/orc_types.h,
// arch/x86/kernel/unwind_orc.c).
//
// Two parallel arrays, sorted by address: orc_unwind_ip holds, per entry, the 32-bit distance from
// the array element itself to the first instruction the entry is for; orc_unwind holds 6-byte
// entries that say where the caller's stack pointer and frame pointer are. Modules carry arrays of
// their own.
//
// The entry's bit fields moved over the years. Their places are asked of BTF; which numbering
// `type` uses follows from what else is there:
//   until v6.3: type 0 call, 1 regs, 2 partial regs; bit `end` marks the last frame
//   since v6.4: type 0 undefined, 1 end of stack, 2 call, 3 regs, 4 partial regs; no `end`
//               (commit fb799447ae29, "x86,objtool: Split UNWIND_HINT_EMPTY in two")
#pragma once

#include <optional>
#include <vector>

#include "guest/linux/modules.h"

namespace hvd::linux_guest {

struct OrcEntry {
  enum class Type { kUndefined, kEndOfStack, kCall, kRegs, kRegsPartial };
  enum class Base : std::uint8_t {  // ORC_REG_*, unchanged since v4.14
    kUndefined,
    kPrevSp,
    kDx,
    kDi,
    kBp,
    kSp,
    kR10,
    kR13,
    kBpIndirect,
    kSpIndirect
  };
  Type type = Type::kUndefined;
  Base sp_base = Base::kUndefined;
  Base bp_base = Base::kUndefined;
  std::int16_t sp_offset = 0;
  std::int16_t bp_offset = 0;
  bool signal = false;  // the address found is where execution stopped, not a return address
};

/// Instructions that share an entry.
struct OrcRange {
  VirtAddr begin, end;
  OrcEntry entry;
};

class OrcTables {
 public:
  /// kNotFound when the kernel has no ORC (frame pointer kernels) or no BTF to read it by. Both
  /// must outlive the result.
  static Result<OrcTables> open(const Kernel& kernel, const std::vector<Module>& modules);

  /// The entry for an instruction; kNotFound when no table covers it.
  Result<OrcEntry> find(VirtAddr ip) const;

  /// Where the kernel proper calls a function on another stack: the caller's stack pointer then is
  /// kept at the top of that stack (`call_on_stack`, arch/x86/include/asm/irq_stack.h). DWARF knows
  /// nothing of it.
  Result<std::vector<OrcRange>> stack_switches() const;

 private:
  struct Table {
    VirtAddr ips, entries;
    std::uint64_t count = 0;
  };
  struct Field {
    unsigned bit = 0, size = 0;
  };
  explicit OrcTables(const Kernel& kernel, const std::vector<Module>& modules)
      : kernel_(&kernel), modules_(&modules) {}
  Result<void> read_layout(const Types& types);
  Result<OrcEntry> search(const Table& table, VirtAddr ip, std::uint64_t first,
                          std::uint64_t last) const;
  Result<Table> module_table(const Module& module) const;
  Result<VirtAddr> address_of(const Table& table, std::uint64_t index) const;
  Result<OrcEntry> decode(VirtAddr at) const;
  Result<OrcEntry> decode_raw(std::uint64_t raw) const;

  const Kernel* kernel_;
  const std::vector<Module>* modules_;
  Table vmlinux_;
  VirtAddr lookup_, stext_;  // orc_lookup: the first entry for each 256 bytes of text
  std::uint64_t lookup_count_ = 0;
  Field sp_reg_, bp_reg_, type_, signal_, end_;
  std::uint64_t entry_size_ = 6;
};

}  // namespace hvd::linux_guest
