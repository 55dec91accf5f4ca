// CachedMemory: memory whose pages are kept for a while: page tables and structures are read again
// and again, a few bytes at a time.
#pragma once

#include "base/lru_cache.h"
#include "base/physical_memory.h"

namespace hvd {

class CachedMemory final : public PhysicalMemory {
 public:
  /// `memory` must outlive the object and must not change meanwhile. Only pages of which parts are
  /// read are kept.
  explicit CachedMemory(const PhysicalMemory& memory) : memory_(memory) {}
  const std::vector<PhysRange>& ranges() const override { return memory_.ranges(); }
  Extent extent_at(PhysAddr at) const override { return memory_.extent_at(at); }

 private:
  static constexpr std::size_t kKeptPages = 256;
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const PhysicalMemory& memory_;
  mutable LruCache<std::uint64_t, Bytes> pages_{kKeptPages};  // by page number
};

}  // namespace hvd
