// SourceMemory: a capture's source as PhysicalMemory, so that guest/ can look at a machine while it
// is captured.
#pragma once

#include "base/physical_memory.h"
#include "capture/source.h"

namespace hvd {

class SourceMemory final : public PhysicalMemory {
 public:
  /// `source` must outlive the object. Put a CachedMemory over it.
  explicit SourceMemory(const PageSource& source) : source_(source) {}
  const std::vector<PhysRange>& ranges() const override { return source_.ranges(); }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const PageSource& source_;
};

}  // namespace hvd
