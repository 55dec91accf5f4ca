// VMCOREINFO: what a Linux kernel says of itself for those who read its dumps
// (Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c, before v6.9
// kernel/crash_core.c).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/result.h"

namespace hvd::linux_guest {

class VmcoreInfo {
 public:
  /// Text of KEY=VALUE lines; kCorrupt unless it begins with OSRELEASE=. Lines that do not fit are
  /// skipped.
  static Result<VmcoreInfo> parse(std::string_view text);

  std::optional<std::string> text(const std::string& key) const;
  std::optional<VirtAddr> symbol(const std::string& name) const;      // SYMBOL(name)
  std::optional<std::int64_t> number(const std::string& name) const;  // NUMBER(name), decimal or 0x
  std::optional<std::uint64_t> offset(
      const std::string& member) const;                              // OFFSET(type.member), bytes
  std::optional<std::uint64_t> size(const std::string& type) const;  // SIZE(type), bytes
  std::string release() const { return text("OSRELEASE").value_or(""); }
  std::string build_id() const { return text("BUILD-ID").value_or(""); }
  /// How far KASLR moved the kernel, in bytes.
  std::optional<std::uint64_t> kaslr_offset() const;

  /// Where physical address 0 would be in the kernel text mapping; may be negative.
  std::int64_t phys_base() const { return number("phys_base").value_or(0); }
  bool five_level() const { return number("pgtable_l5_enabled").value_or(0) == 1; }
  /// The physical address of the kernel's own top page table.
  std::optional<PhysAddr> page_table_root() const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

/// __START_KERNEL_map (arch/x86/include/asm/page_64_types.h): fixed by the x86-64 ABI of the
/// kernel.
inline constexpr std::uint64_t kKernelTextMap = 0xffffffff80000000;

}  // namespace hvd::linux_guest
