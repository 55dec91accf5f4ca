// MergedMemory: two partitions of one machine as one memory: what the first does not have the
// second may.
#pragma once

#include <memory>

#include "base/physical_memory.h"

namespace hvd {

class MergedMemory final : public PhysicalMemory {
 public:
  MergedMemory(std::shared_ptr<const PhysicalMemory> first,
               std::shared_ptr<const PhysicalMemory> second);
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const std::shared_ptr<const PhysicalMemory> first_, second_;
  std::vector<PhysRange> ranges_;
};

}  // namespace hvd
