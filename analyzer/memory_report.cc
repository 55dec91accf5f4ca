#include "analyzer/memory_report.h"

#include <algorithm>
#include <array>

namespace hvd {
namespace {

// A large dump has hundreds of millions of extents, so they are counted by number, not by name.
struct Counts {
  std::uint64_t total = 0, present = 0, sealed = 0, lost = 0;
  std::array<std::uint64_t, kPageClassCount> classes{};
  std::array<std::uint64_t, kAbsenceCount> reasons{};

  void add(const Extent& extent, std::uint64_t size) {
    switch (extent.kind) {
      case Extent::Kind::kStored:
        present += size;
        classes[static_cast<std::size_t>(extent.page_class)] += size;
        break;
      case Extent::Kind::kZero:
        present += size;
        reasons[static_cast<std::size_t>(Absence::kZero)] += size;
        break;
      case Extent::Kind::kAbsent: reasons[static_cast<std::size_t>(extent.reason)] += size; break;
      case Extent::Kind::kSealed: sealed += size; break;
      case Extent::Kind::kUnknown: lost += size; break;
      case Extent::Kind::kHole: break;
    }
  }
};

}  // namespace

MemoryReport memory_report(const PhysicalMemory& memory) {
  Counts counts;
  for (const PhysRange& range : memory.ranges()) {
    counts.total += range.size;
    for (std::uint64_t offset = 0; offset < range.size;) {
      const Extent extent = memory.extent_at(range.begin + offset);
      const std::uint64_t size = std::min(extent.range.size, range.size - offset);
      counts.add(extent, size);
      offset += std::max<std::uint64_t>(size, 1);
    }
  }
  MemoryReport out;
  out.total_bytes = counts.total;
  out.present_bytes = counts.present;
  const auto put = [](auto& sizes, std::string_view name, std::uint64_t size) {
    if (size != 0) sizes[std::string(name)] = size;
  };
  for (std::size_t i = 0; i < kPageClassCount; ++i)
    put(out.by_class, name_of(static_cast<PageClass>(i)), counts.classes[i]);
  for (std::size_t i = 0; i < kAbsenceCount; ++i)
    put(out.absent, name_of(static_cast<Absence>(i)), counts.reasons[i]);
  put(out.absent, "sealed", counts.sealed);
  put(out.absent, "lost", counts.lost);
  return out;
}

}  // namespace hvd
