// kallsyms: the kernel's own symbol table, in its read-only data (kernel/kallsyms.c,
// scripts/kallsyms.c).
//
// Addresses are 32-bit offsets from a base. VMCOREINFO names the tables since Linux 6.0 (commit
// 5fd8fea935a1); for older kernels kallsyms_search.h finds them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest/linux/symbol_names.h"
#include "guest/linux/vmcoreinfo.h"

namespace hvd::linux_guest {

/// Where the tables are.
struct KallsymsPlace {
  VirtAddr names, token_table, token_index, offsets;
  std::uint64_t relative_base = 0;
  std::uint64_t count = 0;
};

class Kallsyms {
 public:
  /// kNotFound when VMCOREINFO does not name the tables.
  static Result<KallsymsPlace> place_from(const VmcoreInfo& info, const VirtualMemory& memory);

  /// Reads and checks all of it; kCorrupt when the tables contradict themselves, or `stext` is not
  /// where they say.
  static Result<Kallsyms> read(const KallsymsPlace& place, const VirtualMemory& memory,
                               std::optional<VirtAddr> stext);

  struct Symbol {
    std::string name;
    VirtAddr address;
    std::uint64_t size = 0;  // up to the next symbol
  };

  std::optional<VirtAddr> find(std::string_view name) const;
  /// The symbol at or before `at`, within the kernel image.
  std::optional<Symbol> at(VirtAddr at) const;

 private:
  void sort_by_address();

  SymbolNames names_;
  std::vector<std::uint64_t> addresses_;
  std::vector<std::uint32_t> by_address_;  // indexes
};

}  // namespace hvd::linux_guest
