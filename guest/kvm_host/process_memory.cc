#include "guest/kvm_host/process_memory.h"

#include <algorithm>

#include "guest/linux/xarray.h"

namespace hvd::linux_guest {
namespace {

// arch/x86/include/asm/pgtable_types.h, pgtable-invert.h: a page that must not be accessed for now,
// as while the kernel finds out which node uses it, has this bit instead of the present bit, and
// the address inverted so that no speculation follows it.
constexpr std::uint64_t kProtNone = 1u << 8;
constexpr std::uint64_t kAddressMask = 0x000ffffffffff000;

struct PageCache {
  VirtAddr at;       // struct address_space
  VirtAddr entries;  // its xarray
};

// Of the file that is mapped there.
Result<PageCache> page_cache_of(const Kernel& kernel, const Types& types, const VmArea& area) {
  const Member mapping = HVD_TRY(types.member("file", "f_mapping"));
  const Member entries = HVD_TRY(types.member("address_space", "i_pages"));
  const VirtAddr at{HVD_TRY(kernel.field(area.file, mapping))};
  return PageCache{at, at + entries.offset};
}

}  // namespace

struct ProcessMemory::Runs {
  std::vector<ProcessRun> out;

  void add(const ProcessRun& run) {
    if (run.size == 0) return;
    if (!out.empty()) {
      ProcessRun& last = out.back();
      const bool follows = run.kind == last.kind && (run.kind != ProcessRun::Kind::kInMemory ||
                                                     last.phys.value + last.size == run.phys.value);
      if (follows) {
        last.size += run.size;
        return;
      }
    }
    out.push_back(run);
  }
};

ProcessMemory::ProcessMemory(const PhysicalMemory& memory, PageTables tables,
                             std::vector<VmArea> areas, const Kernel* kernel)
    : memory_(memory), tables_(tables), areas_(std::move(areas)), kernel_(kernel) {
  if (!kernel) return;
  if (auto pages = PageStructs::open(*kernel)) pages_ = *pages;
}

std::vector<ProcessRun> ProcessMemory::runs(VirtAddr from, std::uint64_t size) const {
  Runs runs;
  if (size == 0) return {};
  size = std::min(size, ~std::uint64_t{0} - from.value);
  std::size_t unreadable = 0;
  const VirtAddr end = from + size;
  VirtAddr at = from;
  const std::size_t limit = static_cast<std::size_t>(size / kPageSize + 2);
  for (const PageMapping& mapped : tables_.mappings(from, end - 1, limit, unreadable)) {
    unmapped(at, mapped.virt - at, runs);
    in_memory(mapped, runs);
    at = mapped.virt + mapped.size;
  }
  unmapped(at, end - at, runs);
  return std::move(runs.out);
}

void ProcessMemory::in_memory(const PageMapping& mapped, Runs& out) const {
  constexpr std::uint64_t kBatch = 1024;
  const std::uint64_t first = mapped.phys.value / kPageSize, count = mapped.size / kPageSize;
  if (!pages_) return out.add({mapped.virt, mapped.size, ProcessRun::Kind::kInMemory, mapped.phys});
  for (std::uint64_t done = 0; done < count; done += kBatch) {
    const auto batch = static_cast<std::size_t>(std::min(kBatch, count - done));
    const std::vector<PageFacts> facts = pages_->read(first + done, batch);
    for (std::size_t i = 0; i < batch; ++i) {
      const bool bad = facts[i].poisoned || facts[i].use == PageUse::kOffline;
      const std::uint64_t offset = (done + i) * kPageSize;
      out.add({mapped.virt + offset, kPageSize,
               bad ? ProcessRun::Kind::kRestricted : ProcessRun::Kind::kInMemory,
               mapped.phys + offset});
    }
  }
}

void ProcessMemory::unmapped(VirtAddr from, std::uint64_t size, Runs& out) const {
  const VirtAddr end = from + size;
  auto area = std::upper_bound(areas_.begin(), areas_.end(), from,
                               [](VirtAddr at, const VmArea& a) { return at < a.end; });
  while (from < end) {
    const VirtAddr begin = area == areas_.end() ? end : std::min(end, std::max(from, area->begin));
    out.add({from, begin - from, ProcessRun::Kind::kNowhere, {}});
    if (begin == end) return;
    const VirtAddr stop = std::min(end, area->end);
    constexpr std::uint64_t kDevice = VmArea::kPfnMap | VmArea::kIo;
    if (area->flags & kDevice) {
      out.add({begin, stop - begin, ProcessRun::Kind::kNowhere, {}});
    } else if (area->flags & VmArea::kHugeTlb) {
      if (!huge(*area, begin, stop - begin, out))
        out.add({begin, stop - begin, ProcessRun::Kind::kNowhere, {}});
    } else {
      absent(*area, begin, stop - begin, out);
    }
    from = stop;
    ++area;
  }
}

void ProcessMemory::absent(const VmArea& area, VirtAddr from, std::uint64_t size, Runs& out) const {
  const VirtAddr end = from + size;
  while (from < end) {
    const auto entry = tables_.absent_entry(from);
    if (!entry) {  // a table that is not at hand
      const std::uint64_t step = std::min(end - from, kPageSize - from.value % kPageSize);
      out.add({from, step, ProcessRun::Kind::kNowhere, {}});
      from = from + step;
      continue;
    }
    const std::uint64_t step = std::min(end - from, entry->size);
    if (entry->value & kProtNone) {
      const PhysAddr phys{(~entry->value & kAddressMask) + entry->offset};
      out.add({from, step, ProcessRun::Kind::kInMemory, phys});
    } else if (entry->value != 0) {
      out.add({from, step, ProcessRun::Kind::kSwappedOut, {}});
    } else if (area.file.value == 0) {
      out.add({from, step, ProcessRun::Kind::kZero, {}});
    } else if (!cached(area, from, step, out)) {
      out.add({from, step, ProcessRun::Kind::kNowhere, {}});
    }
    from = from + step;
  }
}

Result<void> ProcessMemory::cached(const VmArea& area, VirtAddr from, std::uint64_t size,
                                   Runs& out) const {
  if (!pages_) return Error{ErrorCode::kNotFound, "the kernel's struct pages are not known"};
  const std::lock_guard lock(mutex_);
  const Types& types = *HVD_TRY(kernel_->need_types());
  const PageCache cache = HVD_TRY(page_cache_of(*kernel_, types, area));
  const std::uint64_t file_at = area.file_offset + (from - area.begin);
  const std::uint64_t first = file_at / kPageSize, count = size / kPageSize;
  // Shared memory that was never written to is zero; what a file holds is not known from here.
  const Member operations = HVD_TRY(types.member("address_space", "a_ops"));
  const std::uint64_t kind = HVD_TRY(kernel_->field(cache.at, operations));
  const auto shmem = kernel_->symbol("shmem_aops");
  const auto hole =
      shmem && shmem->value == kind ? ProcessRun::Kind::kZero : ProcessRun::Kind::kNowhere;
  Runs found;
  VirtAddr at = from;
  const auto place = [&](std::uint64_t index) { return from + (index - first) * kPageSize; };
  HVD_TRY(walk_xarray(
      *kernel_, cache.entries, first, first + count - 1, count, [&](const XarrayEntry& entry) {
        const std::uint64_t begin = std::max(entry.index, first);
        const std::uint64_t end = std::min(entry.index + entry.count, first + count);
        if (begin >= end || place(begin) < at) return true;
        found.add({at, place(begin) - at, hole, {}});
        const std::uint64_t bytes = (end - begin) * kPageSize;
        const auto number = pages_->number_of(VirtAddr{entry.value});
        if (entry.value & 1) {
          found.add({place(begin), bytes, ProcessRun::Kind::kSwappedOut, {}});
        } else if (number) {
          const PhysAddr phys{(*number + (begin - entry.head)) * kPageSize};
          found.add({place(begin), bytes, ProcessRun::Kind::kInMemory, phys});
        } else {
          found.add({place(begin), bytes, ProcessRun::Kind::kNowhere, {}});
        }
        at = place(end);
        return true;
      }));
  found.add({at, from + size - at, hole, {}});
  for (const ProcessRun& run : found.out) out.add(run);
  return {};
}

// hugetlbfs, which also anonymous huge pages are files of: its page cache counts in huge pages,
// since v6.7 in pages, with one entry for each huge page ("mm/filemap: remove hugetlb special
// casing in filemap.c"). What was never touched is zero and has no entry.
Result<void> ProcessMemory::huge(const VmArea& area, VirtAddr from, std::uint64_t size,
                                 Runs& out) const {
  if (!pages_) return Error{ErrorCode::kNotFound, "the kernel's struct pages are not known"};
  const std::lock_guard lock(mutex_);
  const Types& types = *HVD_TRY(kernel_->need_types());
  const Member host = HVD_TRY(types.member("address_space", "host"));
  const Member block_bits = HVD_TRY(types.member("inode", "i_blkbits"));
  const PageCache cache = HVD_TRY(page_cache_of(*kernel_, types, area));
  const VirtAddr inode{HVD_TRY(kernel_->field(cache.at, host))};
  const std::uint64_t bits = HVD_TRY(kernel_->field(inode, block_bits));
  constexpr std::uint64_t kLeastBits = 16, kMostBits = 34;
  if (bits < kLeastBits || bits > kMostBits)
    return Error{ErrorCode::kCorrupt, "huge pages of 2^" + std::to_string(bits) + " bytes"};
  const std::uint64_t bytes = std::uint64_t{1} << bits, pages = bytes / kPageSize;
  // The struct page of the entry that begins at `index` and is for it alone, or for more; or 0.
  const auto entry_at = [&](std::uint64_t index, bool alone) -> Result<std::uint64_t> {
    std::uint64_t value = 0;
    HVD_TRY(walk_xarray(*kernel_, cache.entries, index, index, 1, [&](const XarrayEntry& entry) {
      if (entry.head == index && (entry.count == 1) == alone) value = entry.value;
      return false;
    }));
    return value;
  };
  Runs found;
  for (const VirtAddr end = from + size; from < end;) {
    const std::uint64_t file_at = area.file_offset + (from - area.begin), number = file_at >> bits;
    const std::uint64_t within = file_at & (bytes - 1);
    const std::uint64_t step = std::min<std::uint64_t>(end - from, bytes - within);
    const auto absent = tables_.absent_entry(from);
    std::uint64_t page = HVD_TRY(entry_at(number, true));
    if (page == 0) page = HVD_TRY(entry_at(number * pages, false));
    ProcessRun run{from, step, ProcessRun::Kind::kNowhere, {}};
    if (absent && absent->value == 0 && page == 0) {
      run.kind = ProcessRun::Kind::kZero;
    } else if (absent && absent->value == 0) {
      const std::uint64_t place = HVD_TRY(pages_->number_of(VirtAddr{page}));
      run.kind = ProcessRun::Kind::kInMemory;
      run.phys = PhysAddr{place * kPageSize + within};
    }
    found.add(run);
    from = from + step;
  }
  for (const ProcessRun& run : found.out) out.add(run);
  return {};
}

}  // namespace hvd::linux_guest
