#include "guest/linux/page_structs.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMappingAnon = 1;  // PAGE_MAPPING_ANON; bit 1 alone: movable driver pages
constexpr std::uint64_t kMappingFlags = 3;
constexpr std::size_t kBatch = 1024;  // struct pages read at once; the largest free block on x86-64
// Page types as bits counted down from -1 (commit 6e292b9be7f4, v4.18; PG_offline since v5.1).
constexpr std::uint32_t kTypeBase = 0xf0000000;
constexpr std::uint32_t kBuddyBit = 0x80, kOfflineBit = 0x100, kTableBit = 0x200;

std::uint64_t word(ByteView bytes, std::uint64_t at, std::size_t size) {
  std::uint64_t out = 0;
  if (at + size <= bytes.size()) std::memcpy(&out, bytes.data() + at, size);
  return out;
}

}  // namespace

Result<PageStructs> PageStructs::open(const Kernel& kernel) {
  PageStructs out(kernel.memory().physical(), kernel.memory().tables());
  HVD_TRY(out.read_layout(kernel));
  return out;
}

Result<void> PageStructs::read_layout(const Kernel& kernel) {
  const Types& types = *HVD_TRY(kernel.need_types());
  // CONFIG_SPARSEMEM_VMEMMAP: struct pages are one array, its base in a variable because of KASLR.
  const VirtAddr base = HVD_TRY(kernel.symbol("vmemmap_base"));
  vmemmap_ = VirtAddr{HVD_TRY(kernel.memory().read_u64(base))};
  page_size_ = HVD_TRY(types.size_of("page"));
  const Member flags = HVD_TRY(types.member("page", "flags"));
  const Member mapping = HVD_TRY(types.member("page", "mapping"));
  const Member compound = HVD_TRY(types.member("page", "compound_head"));
  const Member own = HVD_TRY(types.member("page", "private"));
  private_at_ = own.offset;
  const Member type = HVD_TRY(types.first_member_of("page", {"page_type", "_mapcount"}));
  count_at_ = HVD_TRY(types.member("page", "_refcount")).offset;
  flags_at_ = flags.offset, mapping_at_ = mapping.offset, compound_at_ = compound.offset,
  type_at_ = type.offset;
  if (page_size_ < 32 || page_size_ > 256)
    return Error{ErrorCode::kUnsupported, "struct page has an unknown size"};
  // A structure of its own since v5.17 (commit d122019bf061), on top of struct page.
  const auto slab = types.member("slab", "slab_cache");
  const auto cache = slab ? slab : types.member("page", "slab_cache");
  cache_at_ = cache ? cache->offset : page_size_;

  const auto bit = [&](const char* name) -> std::optional<unsigned> {
    const auto value = types.enumerator(name);
    return value && *value < 64 ? std::optional<unsigned>(static_cast<unsigned>(*value))
                                : std::nullopt;
  };
  reserved_bit_ = bit("PG_reserved");
  poison_bit_ = bit("PG_hwpoison");  // with CONFIG_MEMORY_FAILURE only
  // Slab pages had a flag until v6.9, and a page type since (commit 46df8e73a4a3). Types are values
  // of the top byte since v6.12 (commit 4ffca5a96678), where they are an enumeration (PGTY_*).
  slab_bit_ = bit("PG_slab");
  const auto top_byte = [&](const char* name) -> std::optional<std::uint64_t> {
    const auto value = types.enumerator(name);
    return value ? std::optional<std::uint64_t>(*value & 0xff) : std::nullopt;
  };
  slab_type_ = top_byte("PGTY_slab");
  table_type_ = top_byte("PGTY_table");
  buddy_type_ = top_byte("PGTY_buddy");
  offline_type_ = top_byte("PGTY_offline");
  return {};
}

bool PageStructs::has_type(std::uint32_t value, std::optional<std::uint64_t> byte,
                           std::uint32_t bit) const {
  if (slab_type_) return byte == value >> 24;
  return (value & kTypeBase) == kTypeBase && (~value & bit);
}

PageFacts PageStructs::of(ByteView page) const {
  PageFacts out;
  const std::uint64_t flags = word(page, flags_at_, 8);
  const std::uint64_t mapping = word(page, mapping_at_, 8);
  const auto type = static_cast<std::uint32_t>(word(page, type_at_, 4));
  const auto flag = [&](std::optional<unsigned> bit) { return bit && ((flags >> *bit) & 1); };
  if (flag(reserved_bit_)) {
    out.use = PageUse::kReserved;
  } else if (slab_type_ ? slab_type_ == type >> 24 : flag(slab_bit_)) {
    out.use = PageUse::kSlab;
    out.cache = VirtAddr{word(page, cache_at_, 8)};
  } else if (has_type(type, table_type_, kTableBit)) {
    out.use = PageUse::kTable;
  } else if (has_type(type, buddy_type_, kBuddyBit)) {
    out.use = PageUse::kFree;
  } else if (has_type(type, offline_type_, kOfflineBit)) {
    out.use = PageUse::kOffline;
  } else if ((mapping & kMappingFlags) == kMappingAnon) {
    out.use = PageUse::kAnonymous;
    out.mapping = mapping & ~kMappingFlags;
  } else if (mapping != 0 && (mapping & kMappingFlags) == 0) {
    out.use = PageUse::kFile;
    out.mapping = mapping;
  } else {
    out.use = PageUse::kOther;
    out.unused = word(page, count_at_, 4) == 0;
  }
  return out;
}

std::vector<PageFacts> PageStructs::read(std::uint64_t first, std::size_t count) const {
  std::vector<PageFacts> out(count);
  const VirtualMemory memory(*memory_, tables_);
  Bytes structs(kBatch * page_size_), head_struct;
  for (std::size_t at = 0; at < count; at += kBatch) {
    const std::size_t batch = std::min(kBatch, count - at);
    const VirtAddr from = vmemmap_ + (first + at) * page_size_;
    const MutableBytes view = MutableBytes(structs).first(batch * page_size_);
    if (!memory.read(from, view)) continue;
    std::size_t free_until = 0;
    for (std::size_t i = 0; i < batch; ++i) {
      const ByteView own = ByteView(view).subspan(i * page_size_, page_size_);
      ByteView page = own;
      std::uint64_t head_number = first + at + i;
      const std::uint64_t head = word(page, compound_at_, 8);
      if (head & 1) {  // a tail page is what its head is
        const VirtAddr head_at{head - 1};
        const auto number = number_of(head_at);
        const std::uint64_t offset = head_at - from;
        if (number && offset < batch * page_size_) {
          page = ByteView(view).subspan(offset, page_size_);
        } else if (auto read = number ? memory.read_bytes(head_at, page_size_)
                                      : Result<Bytes>(number.error())) {
          head_struct = std::move(*read);
          page = head_struct;
        }
        if (number) head_number = *number;
      }
      PageFacts& facts = out[at + i];
      facts = of(page);
      facts.head = head_number;
      // Of a free block only the first page is marked, with the block's order.
      if (facts.use == PageUse::kFree) {
        const std::uint64_t order = word(own, private_at_, 8);
        free_until =
            std::max(free_until, i + (std::size_t{1} << std::min<std::uint64_t>(order, 10)));
      } else if (facts.use == PageUse::kOther && i < free_until) {
        facts.use = PageUse::kFree;
      }
      facts.poisoned = poison_bit_ && ((word(own, flags_at_, 8) >> *poison_bit_) & 1);
    }
  }
  return out;
}

Result<std::uint64_t> PageStructs::number_of(VirtAddr at) const {
  const std::uint64_t offset = at - vmemmap_;
  if (at < vmemmap_ || offset % page_size_ != 0 || offset / page_size_ >= (std::uint64_t{1} << 40))
    return Error{ErrorCode::kCorrupt, "there is no struct page at " + hex(at.value)};
  return offset / page_size_;
}

}  // namespace hvd::linux_guest
