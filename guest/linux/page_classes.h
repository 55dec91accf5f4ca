// PageClassifier: what each page of a Linux guest is used for, by the guest's own struct page
// (include/linux/mm_types.h).
#pragma once

#include <vector>

#include "guest/linux/page_structs.h"

namespace hvd::linux_guest {

struct ClassifiedPage {
  PageClass page_class = PageClass::kUnclassified;
  bool free = false;  // its contents are stale
};

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
  std::vector<ClassifiedPage> classify(std::uint64_t first, std::size_t count) const;

 private:
  explicit PageClassifier(const PageStructs& pages) : pages_(pages) {}

  PageStructs pages_;
  std::vector<PhysRange> kernel_mapped_;
};

}  // namespace hvd::linux_guest
