#include "guest/linux/page_classes.h"

#include <algorithm>

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxMappings = 1u << 20;
constexpr std::uint64_t kKernelHalf = 0xff00000000000000;
constexpr VirtAddr kEspFix{0xffffff0000000000};  // Documentation/arch/x86/x86_64/mm.rst

PageClass class_of(PageUse use) {
  switch (use) {
    case PageUse::kReserved:
    case PageUse::kSlab:
    case PageUse::kTable: return PageClass::kKernel;
    case PageUse::kAnonymous: return PageClass::kUser;
    case PageUse::kFile: return PageClass::kPageCache;
    default: return PageClass::kUnclassified;
  }
}

}  // namespace

Result<PageClassifier> PageClassifier::open(const Kernel& kernel) {
  const PageStructs pages = HVD_TRY(PageStructs::open(kernel));
  PageClassifier out(pages);
  // What the kernel maps behind its direct map: stacks, modules, vmalloc, struct pages, per-CPU
  // memory, and its image.
  const PageTables& tables = kernel.memory().tables();
  std::size_t unreadable = 0;
  const VirtAddr vmalloc = HVD_TRY(kernel.symbol("vmalloc_base"));
  const VirtAddr from{HVD_TRY(kernel.memory().read_u64(vmalloc))};
  for (const PageMapping& mapped : tables.mappings(from, kEspFix - 1, kMaxMappings, unreadable)) {
    out.kernel_mapped_.push_back({mapped.phys, mapped.size});
  }
  for (const PageMapping& mapped : tables.mappings(
           VirtAddr{kKernelTextMap}, VirtAddr{~std::uint64_t{0}}, kMaxMappings, unreadable)) {
    out.kernel_mapped_.push_back({mapped.phys, mapped.size});
  }
  // And the tables that map all this: kernel page tables carry no type of their own.
  const std::vector<PhysRange> own =
      tables.table_pages(VirtAddr{kKernelHalf}, VirtAddr{~std::uint64_t{0}});
  out.kernel_mapped_.insert(out.kernel_mapped_.end(), own.begin(), own.end());
  out.kernel_mapped_ = normalised(std::move(out.kernel_mapped_));
  return out;
}

std::vector<ClassifiedPage> PageClassifier::classify(std::uint64_t first, std::size_t count) const {
  std::vector<ClassifiedPage> out;
  out.reserve(count);
  for (const PageFacts& page : pages_.read(first, count)) {
    out.push_back({class_of(page.use), page.use == PageUse::kFree});
  }
  // Pages that the kernel maps for itself have no mark of their own.
  const std::uint64_t begin = first * kPageSize, end = begin + count * kPageSize;
  for (const PhysRange& range : kernel_mapped_) {
    if (range.begin.value >= end) break;
    const std::uint64_t low = std::max(begin, range.begin.value),
                        high = std::min(end, range.begin.value + range.size);
    for (std::uint64_t a = low; a < high; a += kPageSize) {
      ClassifiedPage& page = out[(a - begin) / kPageSize];
      if (page.page_class == PageClass::kUnclassified) page = {PageClass::kKernel, false};
    }
  }
  return out;
}

}  // namespace hvd::linux_guest
