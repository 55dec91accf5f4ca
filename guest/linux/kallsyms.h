// kallsyms: the kernel's own symbol table, in its read-only data (kernel/kallsyms.c,
// scripts/kallsyms.c).
//
// Names are strings of token numbers; each of the 256 tokens stands for one or more characters.
// Addresses are 32-bit offsets from a base. VMCOREINFO names the tables since Linux 6.0 (commit
// 5fd8fea935a1); for older kernels kallsyms_search.h finds them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest/linux/vmcoreinfo.h"
#include "guest/x86_64/virtual_memory.h"

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

  /// Decodes all of it; kCorrupt when the tables contradict themselves, or `stext` is not where
  /// they say.
  static Result<Kallsyms> read(const KallsymsPlace& place, const VirtualMemory& memory,
                               std::optional<VirtAddr> stext);

  struct Symbol {
    std::string_view name;  // valid as long as the Kallsyms
    VirtAddr address;
    char type = '?';         // as nm prints it
    std::uint64_t size = 0;  // up to the next symbol
  };

  std::optional<VirtAddr> find(std::string_view name) const;
  /// The symbol at or before `at`, within the kernel image.
  std::optional<Symbol> at(VirtAddr at) const;
  std::size_t size() const { return addresses_.size(); }
  Symbol operator[](std::size_t index) const;

 private:
  Result<void> decode(ByteView names, const std::vector<std::string>& tokens, std::uint64_t count);
  void index_names();
  void sort_by_address();

  std::string text_;                        // all names, one behind the other
  std::vector<std::uint32_t> name_begins_;  // count + 1
  std::vector<char> types_;
  std::vector<std::uint64_t> addresses_;
  std::vector<std::uint32_t> by_address_;  // indexes
  std::vector<std::uint32_t> table_;       // hash table of names: index + 1
};

/// The 256 tokens; kCorrupt when the tables are not such tables.
Result<std::vector<std::string>> read_tokens(const VirtualMemory& memory, VirtAddr table,
                                             VirtAddr index);

}  // namespace hvd::linux_guest
