#include "guest/linux/vm_memory.h"

#include <algorithm>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxPieces = 4u << 20;  // 16 GiB of scattered pages, more of larger runs

}  // namespace

std::shared_ptr<const VmMemory> VmMemory::open(const PhysicalMemory& host, const PageTables& vmm,
                                               const std::vector<MemorySlot>& slots) {
  std::shared_ptr<VmMemory> out(new VmMemory(host));
  for (const MemorySlot& slot : slots) {
    out->ranges_.push_back(slot.range);
    std::size_t unreadable = 0;
    const std::size_t left = kMaxPieces - std::min(kMaxPieces, out->pieces_.size());
    for (const PageMapping& mapped :
         vmm.mappings(slot.host, slot.host + (slot.range.size - 1), left, unreadable)) {
      const PhysAddr guest = slot.range.begin + (mapped.virt - slot.host);
      out->pieces_.push_back({{guest, mapped.size}, mapped.phys});
    }
  }
  std::sort(out->pieces_.begin(), out->pieces_.end(),
            [](const Piece& a, const Piece& b) { return a.range < b.range; });
  out->ranges_ = normalised(std::move(out->ranges_));
  return out;
}

const VmMemory::Piece* VmMemory::piece_at(PhysAddr at) const {
  const auto next =
      std::upper_bound(pieces_.begin(), pieces_.end(), at,
                       [](PhysAddr a, const Piece& piece) { return a < piece.range.begin; });
  if (next == pieces_.begin() || !std::prev(next)->range.contains(at)) return nullptr;
  return &*std::prev(next);
}

Extent VmMemory::extent_at(PhysAddr at) const {
  if (const Piece* piece = piece_at(at)) {
    const std::uint64_t offset = at.value - piece->range.begin.value;
    Extent extent = host_.extent_at(piece->host + offset);
    extent.range = {at, std::min(extent.range.size, piece->range.size - offset)};
    // Its page is the guest's, whatever it was to the host.
    if (extent.kind == Extent::Kind::kHole) extent.kind = Extent::Kind::kAbsent;
    extent.page_class = PageClass::kUnclassified;
    return extent;
  }
  Extent extent;
  const auto range = std::find_if(ranges_.begin(), ranges_.end(),
                                  [&](const PhysRange& r) { return r.contains(at); });
  std::uint64_t end = ~std::uint64_t{0};
  if (range != ranges_.end()) {
    extent.kind = Extent::Kind::kAbsent;
    end = range->begin.value + range->size;
  } else {
    for (const PhysRange& other : ranges_)
      if (other.begin > at) end = std::min(end, other.begin.value);
  }
  const auto next =
      std::upper_bound(pieces_.begin(), pieces_.end(), at,
                       [](PhysAddr a, const Piece& piece) { return a < piece.range.begin; });
  if (next != pieces_.end()) end = std::min(end, next->range.begin.value);
  extent.range = {at, end - at.value};
  return extent;
}

Result<std::size_t> VmMemory::read_some(PhysAddr at, MutableBytes out) const {
  const Piece* piece = piece_at(at);
  if (!piece) {
    return Error{ErrorCode::kUnreadable,
                 "guest address " + hex(at.value) + " is not mapped in its VMM"};
  }
  const std::uint64_t offset = at.value - piece->range.begin.value;
  const std::size_t size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), piece->range.size - offset));
  HVD_TRY(with_context(host_.read(piece->host + offset, out.first(size)),
                       "guest address " + hex(at.value)));
  return size;
}

}  // namespace hvd::linux_guest
