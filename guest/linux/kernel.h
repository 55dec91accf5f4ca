// Kernel: a Linux kernel in a captured memory, ready to be asked: its virtual memory, symbols and
// types.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/image.h"
#include "guest/linux/find_vmcoreinfo.h"
#include "guest/linux/kallsyms.h"
#include "guest/linux/types.h"
#include "guest/x86_64/virtual_memory.h"

namespace hvd::linux_guest {

class Kernel {
 public:
  /// Finds the kernel and its symbol table. `image` must outlive the result. kNotFound when there
  /// is no Linux kernel to be found; what is missing beyond that is in problems().
  static Result<std::unique_ptr<Kernel>> open(const Image& image);

  const Image& image() const { return image_; }
  const VmcoreInfo& info() const { return found_.info; }
  /// VMCOREINFO as a note, as dumps carry it.
  Note info_note() const;
  const VirtualMemory& memory() const { return memory_; }
  const Kallsyms& symbols() const { return symbols_; }
  /// Null when the kernel has no BTF: then only what needs no types can be told.
  const Types* types() const { return types_ ? &*types_ : nullptr; }
  const std::vector<std::string>& problems() const { return problems_; }

  /// kNotFound with the name.
  Result<VirtAddr> symbol(std::string_view name) const;
  /// types(), or kNotFound.
  Result<const Types*> need_types() const;

  /// The value of `member` of the structure at `at`; bit fields are shifted into place.
  Result<std::uint64_t> field(VirtAddr at, const Member& member) const;

  /// Address of a per-CPU variable of `cpu`.
  Result<VirtAddr> per_cpu(std::string_view name, unsigned cpu) const;
  /// Possible CPUs, from the kernel's own count; at least 1, at most 8192.
  unsigned cpu_count() const { return cpu_count_; }
  /// The register set of the kernel's CPU `cpu`, matched by its per-CPU base.
  const Registers* registers_of(unsigned cpu) const;

 private:
  Kernel(const Image& image, FoundVmcoreInfo found, VirtualMemory memory)
      : image_(image), found_(std::move(found)), memory_(std::move(memory)) {}
  Result<void> load_symbols();
  Result<void> load_types();
  void match_cpus();

  const Image& image_;
  FoundVmcoreInfo found_;
  VirtualMemory memory_;
  Kallsyms symbols_;
  std::optional<Types> types_;
  std::vector<std::string> problems_;
  unsigned cpu_count_ = 1;
  std::vector<std::uint64_t> per_cpu_offsets_;
  std::vector<const Registers*> registers_;
};

}  // namespace hvd::linux_guest
