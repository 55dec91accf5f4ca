// PageClassifier: what each page of a Linux guest is used for, by the guest's own struct page
// (include/linux/mm_types.h).
#pragma once

#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

class PageClassifier {
 public:
  /// kNotFound when the kernel lacks what is needed (types, a vmemmap). Keeps nothing of `kernel`
  /// but its memory, which must outlive the result.
  static Result<PageClassifier> open(const Kernel& kernel);

  /// The classes of pages [first, first + count) by page number. A page is `kernel` only where
  /// something says so: the kernel image and boot memory, slab, page tables, what the kernel's
  /// vmalloc area maps, VMCOREINFO. Anonymous memory is `user`, file and shmem memory `page-cache`;
  /// free pages, whose contents are stale, and all others are `unclassified`. Safe to call from
  /// several threads.
  std::vector<PageClass> classify(std::uint64_t first, std::size_t count) const;

 private:
  PageClassifier(const PhysicalMemory& memory, PageTables tables)
      : memory_(&memory), tables_(tables) {}
  Result<void> read_layout(const Kernel& kernel);
  PageClass of(ByteView page_struct) const;

  const PhysicalMemory* memory_;
  PageTables tables_;
  VirtAddr vmemmap_;
  std::uint64_t page_size_ = 0;  // of struct page
  std::uint64_t flags_at_ = 0, mapping_at_ = 0, compound_at_ = 0, type_at_ = 0;
  std::optional<unsigned> reserved_bit_, slab_bit_;
  std::optional<std::uint64_t> slab_type_,
      table_type_;  // values of page_type's top byte; of older kernels, its bits
  bool type_is_byte_ = false;
  std::vector<PhysRange> kernel_mapped_;
};

}  // namespace hvd::linux_guest
