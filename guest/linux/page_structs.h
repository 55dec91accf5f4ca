// PageStructs: what the kernel itself notes of each page of memory, in its array of struct page
// (include/linux/mm_types.h, include/linux/page-flags.h, mm/slab.h).
#pragma once

#include <optional>
#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

enum class PageUse : std::uint8_t {
  kNone,       // no struct page: not memory to this kernel, or its struct page is not at hand
  kReserved,   // the kernel image and what was taken before the allocator was up
  kSlab,       // kernel objects; `cache` says which
  kTable,      // a page table
  kAnonymous,  // of a process
  kFile,       // page cache, shared memory
  kFree,       // contents are stale
  kOffline,    // must not be touched: ballooned or unplugged
  kOther,      // in use without a mark
};

struct PageFacts {
  PageUse use = PageUse::kNone;
  bool poisoned = false;      // the hardware failed here: must not be read
  bool unused = false;        // kOther: nobody holds it, as on per-CPU free lists and in pools
  std::uint64_t head = 0;     // number of the first page of the allocation it belongs to
  VirtAddr cache;             // kSlab: struct kmem_cache
  std::uint64_t mapping = 0;  // kAnonymous: struct anon_vma; kFile: struct address_space
};

class PageStructs {
 public:
  /// kNotFound when the kernel lacks what is needed (types, a vmemmap). Keeps nothing of `kernel`
  /// but its memory, which must outlive the result.
  static Result<PageStructs> open(const Kernel& kernel);

  /// Of the pages [first, first + count). Safe to call from several threads.
  std::vector<PageFacts> read(std::uint64_t first, std::size_t count) const;

  /// The number of the page whose struct page is at `at`; kCorrupt when none can be.
  Result<std::uint64_t> number_of(VirtAddr at) const;

 private:
  PageStructs(const PhysicalMemory& memory, PageTables tables)
      : memory_(&memory), tables_(tables) {}
  Result<void> read_layout(const Kernel& kernel);
  PageFacts of(ByteView page_struct) const;
  bool has_type(std::uint32_t value, std::optional<std::uint64_t> byte, std::uint32_t bit) const;

  const PhysicalMemory* memory_;
  PageTables tables_;
  VirtAddr vmemmap_;
  std::uint64_t page_size_ = 0;  // of struct page
  std::uint64_t flags_at_ = 0, mapping_at_ = 0, compound_at_ = 0, type_at_ = 0, cache_at_ = 0,
                private_at_ = 0, count_at_ = 0;
  std::optional<unsigned> reserved_bit_, slab_bit_, poison_bit_;
  // Values of page_type's top byte; null on older kernels, where types are bits.
  std::optional<std::uint64_t> slab_type_, table_type_, buddy_type_, offline_type_;
};

}  // namespace hvd::linux_guest
