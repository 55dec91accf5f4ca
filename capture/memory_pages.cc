#include "capture/memory_pages.h"

#include <algorithm>

namespace hvd {

MemoryPages::MemoryPages(const PhysicalMemory& memory) : memory_(memory) {
  for (const PhysRange& range : memory.ranges()) {
    if (range.size == 0) continue;
    const std::uint64_t begin = range.begin.value / kPageSize * kPageSize;
    const std::uint64_t last = (range.begin.value + (range.size - 1)) / kPageSize * kPageSize;
    ranges_.push_back({PhysAddr{begin}, last - begin + kPageSize});
  }
  ranges_ = normalised(std::move(ranges_));
}

PageRun MemoryPages::fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const {
  const Extent extent = memory_.extent_at(at);
  const std::uint64_t alike =
      std::clamp<std::uint64_t>(extent.range.size / kPageSize, 1, max_pages);
  // A run that ends within the page says nothing of the whole page.
  const bool whole = extent.range.size >= kPageSize;
  if (whole && extent.kind == Extent::Kind::kZero) return {PageRun::Kind::kZero, alike, {}, {}};
  if (whole && extent.kind == Extent::Kind::kAbsent)
    return {PageRun::Kind::kAbsent, alike, {}, extent.reason};
  const std::uint64_t pages = std::min<std::uint64_t>(alike, scratch.size() / kPageSize);
  for (const std::uint64_t count : {pages, std::uint64_t{1}}) {
    const MutableBytes bytes = scratch.first(count * kPageSize);
    if (memory_.read(at, bytes)) return {PageRun::Kind::kBytes, count, bytes, {}};
  }
  return {PageRun::Kind::kAbsent, 1, {}, Absence::kUnreadable};
}

}  // namespace hvd
