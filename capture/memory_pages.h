// MemoryPages: memory that is captured already as a capture's source: what `machine` and imports
// read.
#pragma once

#include "base/physical_memory.h"
#include "capture/source.h"

namespace hvd {

class MemoryPages final : public PageSource {
 public:
  /// `memory` must outlive the object. Ranges are widened to whole pages.
  explicit MemoryPages(const PhysicalMemory& memory);
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const override;

 private:
  const PhysicalMemory& memory_;
  std::vector<PhysRange> ranges_;
};

}  // namespace hvd
