// The memory areas of a process (struct vm_area_struct, include/linux/mm_types.h): which addresses
// it has, and what stands behind them.
#pragma once

#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct VmArea {
  VirtAddr begin, end;
  std::uint64_t flags = 0;        // VM_* (include/linux/mm.h)
  VirtAddr file;                  // struct file; null for anonymous memory
  std::uint64_t file_offset = 0;  // bytes
  VirtAddr anon_vma;              // struct anon_vma; null until it has pages of its own

  static constexpr std::uint64_t kWrite = 0x2, kShared = 0x8, kPfnMap = 0x400, kIo = 0x4000,
                                 kHugeTlb = 0x400000;
  bool contains(VirtAddr at) const { return begin <= at && at < end; }
  bool shared() const { return (flags & kShared) != 0; }
  bool has_private_pages() const { return anon_vma.value != 0; }
};

/// The areas of the process whose struct mm_struct is at `mm`, by address. Since v6.1 they are in a
/// maple tree ("mm: start tracking VMAs with maple tree"), before that in a list. kCorrupt when
/// either does not end or is out of order.
Result<std::vector<VmArea>> read_vm_areas(const Kernel& kernel, VirtAddr mm);

}  // namespace hvd::linux_guest
