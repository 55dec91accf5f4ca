// SourceMemory: a capture's source as PhysicalMemory, so that guest/ can look at a machine while it
// is captured.
#pragma once

#include "base/lru_cache.h"
#include "base/physical_memory.h"
#include "capture/source.h"

namespace hvd {

inline constexpr std::size_t kKeptPages = 256;

class SourceMemory final : public PhysicalMemory {
 public:
  /// `source` must outlive the object, and its memory must not change meanwhile: pages of which
  /// only parts are read, as of page tables, are kept.
  explicit SourceMemory(const PageSource& source) : source_(source) {}
  const std::vector<PhysRange>& ranges() const override { return source_.ranges(); }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  Result<std::size_t> fetch(PhysAddr at, MutableBytes out) const;
  const PageSource& source_;
  mutable LruCache<std::uint64_t, Bytes> pages_{kKeptPages};  // by page number
};

}  // namespace hvd
