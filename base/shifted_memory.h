// ShiftedMemory: the same memory at other addresses, as where one address space lies inside
// another.
#pragma once

#include <utility>
#include <vector>

#include "base/physical_memory.h"

namespace hvd {

class ShiftedMemory final : public PhysicalMemory {
 public:
  /// Address A is `memory`'s A + `offset`, modulo 2^64. `ranges` are by the new addresses, sorted
  /// and not overlapping. `memory` must outlive the object.
  ShiftedMemory(const PhysicalMemory& memory, std::uint64_t offset, std::vector<PhysRange> ranges)
      : memory_(memory), offset_(offset), ranges_(std::move(ranges)) {}
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    Extent extent = memory_.extent_at(at + offset_);
    extent.range.begin = at;
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    HVD_TRY(memory_.read(at + offset_, out));
    return out.size();
  }

  const PhysicalMemory& memory_;
  const std::uint64_t offset_;
  const std::vector<PhysRange> ranges_;
};

}  // namespace hvd
