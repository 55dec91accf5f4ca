#include "guest/linux/page_classes.h"

#include <algorithm>
#include <cstring>

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMappingAnon =
    1;  // PAGE_MAPPING_ANON; bit 1 alone marks movable driver pages
constexpr std::uint64_t kMappingFlags = 3;
constexpr std::size_t kMaxMappings = 1u << 20;
constexpr std::uint64_t kKernelHalf = 0xff00000000000000;
constexpr VirtAddr kEspFix{0xffffff0000000000};  // Documentation/arch/x86/x86_64/mm.rst
constexpr std::size_t kBatch = 1024;             // struct pages read at once

std::uint64_t word(ByteView bytes, std::uint64_t at, std::size_t size) {
  std::uint64_t out = 0;
  if (at + size <= bytes.size()) std::memcpy(&out, bytes.data() + at, size);
  return out;
}

}  // namespace

Result<PageClassifier> PageClassifier::open(const Kernel& kernel) {
  PageClassifier out(kernel.memory().physical(), kernel.memory().tables());
  HVD_TRY(out.read_layout(kernel));
  return out;
}

Result<void> PageClassifier::read_layout(const Kernel& kernel) {
  const Types& types = *HVD_TRY(kernel.need_types());
  // CONFIG_SPARSEMEM_VMEMMAP: struct pages are one array, its base in a variable because of KASLR.
  const VirtAddr base = HVD_TRY(kernel.symbol("vmemmap_base"));
  vmemmap_ = VirtAddr{HVD_TRY(kernel.memory().read_u64(base))};
  page_size_ = HVD_TRY(types.size_of("page"));
  const Member flags = HVD_TRY(types.member("page", "flags"));
  const Member mapping = HVD_TRY(types.member("page", "mapping"));
  const Member compound = HVD_TRY(types.member("page", "compound_head"));
  const Member type = HVD_TRY(types.first_member_of("page", {"page_type", "_mapcount"}));
  flags_at_ = flags.offset, mapping_at_ = mapping.offset, compound_at_ = compound.offset,
  type_at_ = type.offset;
  if (page_size_ < 32 || page_size_ > 256)
    return Error{ErrorCode::kUnsupported, "struct page has an unknown size"};

  if (const auto bit = types.enumerator("PG_reserved"); bit && *bit < 64)
    reserved_bit_ = static_cast<unsigned>(*bit);
  // Slab pages had a flag until v6.9, and a page type since (commit 46df8e73a4a3); so have page
  // tables. Types were bits counted down from -1 at first and are values of the top byte since
  // v6.12 (commit 4ffca5a96678), where they are an enumeration that BTF knows (PGTY_*).
  if (const auto bit = types.enumerator("PG_slab"); bit && *bit < 64)
    slab_bit_ = static_cast<unsigned>(*bit);
  if (const auto slab = types.enumerator("PGTY_slab"))
    slab_type_ = *slab & 0xff, type_is_byte_ = true;
  if (const auto table = types.enumerator("PGTY_table")) table_type_ = *table & 0xff;

  // What the kernel maps behind its direct map: stacks, modules, vmalloc, struct pages, per-CPU
  // memory, and its image.
  std::size_t unreadable = 0;
  const VirtAddr vmalloc = HVD_TRY(kernel.symbol("vmalloc_base"));
  const VirtAddr from{HVD_TRY(kernel.memory().read_u64(vmalloc))};
  for (const PageMapping& mapped : tables_.mappings(from, kEspFix - 1, kMaxMappings, unreadable)) {
    kernel_mapped_.push_back({mapped.phys, mapped.size});
  }
  for (const PageMapping& mapped : tables_.mappings(
           VirtAddr{kKernelTextMap}, VirtAddr{~std::uint64_t{0}}, kMaxMappings, unreadable)) {
    kernel_mapped_.push_back({mapped.phys, mapped.size});
  }
  // And the tables that map all this: kernel page tables carry no type of their own.
  const std::vector<PhysRange> tables =
      tables_.table_pages(VirtAddr{kKernelHalf}, VirtAddr{~std::uint64_t{0}});
  kernel_mapped_.insert(kernel_mapped_.end(), tables.begin(), tables.end());
  kernel_mapped_ = normalised(std::move(kernel_mapped_));
  return {};
}

PageClass PageClassifier::of(ByteView page) const {
  const std::uint64_t flags = word(page, flags_at_, 8);
  const std::uint64_t mapping = word(page, mapping_at_, 8);
  const auto type = static_cast<std::uint32_t>(word(page, type_at_, 4));
  if (reserved_bit_ && ((flags >> *reserved_bit_) & 1)) return PageClass::kKernel;
  if (slab_bit_ && ((flags >> *slab_bit_) & 1)) return PageClass::kKernel;
  if (type_is_byte_ && slab_type_ == type >> 24) return PageClass::kKernel;
  if (type_is_byte_ && table_type_ == type >> 24) return PageClass::kKernel;
  // Until v6.11: all bits set but those of the type, PG_table 0x200 since v4.18 (commit
  // 1d40a5ea01d5).
  if (!type_is_byte_ && (type & 0xf0000000) == 0xf0000000 && (~type & 0x200))
    return PageClass::kKernel;
  if ((mapping & kMappingFlags) == kMappingAnon) return PageClass::kUser;
  if (mapping != 0 && (mapping & kMappingFlags) == 0) return PageClass::kPageCache;
  return PageClass::kUnclassified;
}

std::vector<PageClass> PageClassifier::classify(std::uint64_t first, std::size_t count) const {
  std::vector<PageClass> out(count, PageClass::kUnclassified);
  const VirtualMemory memory(*memory_, tables_);
  Bytes structs(kBatch * page_size_);
  for (std::size_t at = 0; at < count; at += kBatch) {
    const std::size_t batch = std::min(kBatch, count - at);
    const VirtAddr from = vmemmap_ + (first + at) * page_size_;
    const MutableBytes view = MutableBytes(structs).first(batch * page_size_);
    if (!memory.read(from, view)) continue;  // no struct page: not RAM to the guest
    for (std::size_t i = 0; i < batch; ++i) {
      ByteView page = ByteView(view).subspan(i * page_size_, page_size_);
      const std::uint64_t head = word(page, compound_at_, 8);
      Bytes head_struct;
      if (head & 1) {  // a tail page is what its head is
        const VirtAddr head_at{head - 1};
        const std::uint64_t offset = head_at - from;
        if (offset < batch * page_size_ && offset % page_size_ == 0) {
          page = ByteView(view).subspan(offset, page_size_);
        } else if (auto read = memory.read_bytes(head_at, page_size_)) {
          head_struct = std::move(*read);
          page = head_struct;
        }
      }
      out[at + i] = of(page);
    }
  }
  // Pages that the kernel maps for itself have no mark of their own.
  const std::uint64_t begin = first * kPageSize, end = begin + count * kPageSize;
  for (const PhysRange& range : kernel_mapped_) {
    if (range.begin.value >= end) break;
    const std::uint64_t low = std::max(begin, range.begin.value),
                        high = std::min(end, range.begin.value + range.size);
    for (std::uint64_t a = low; a < high; a += kPageSize) {
      PageClass& page_class = out[(a - begin) / kPageSize];
      if (page_class == PageClass::kUnclassified) page_class = PageClass::kKernel;
    }
  }
  return out;
}

}  // namespace hvd::linux_guest
