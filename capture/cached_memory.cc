#include "capture/cached_memory.h"

#include <algorithm>
#include <cstring>

namespace hvd {

Result<std::size_t> CachedMemory::read_some(PhysAddr at, MutableBytes out) const {
  if (out.size() >= kPageSize) {
    HVD_TRY(memory_.read(at, out));
    return out.size();
  }
  const std::uint64_t in_page = at.value % kPageSize;
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), kPageSize - in_page));
  auto page = pages_.find(at.value / kPageSize);
  if (!page) {
    Bytes bytes(kPageSize);
    if (!memory_.read(PhysAddr{at.value - in_page}, bytes)) {
      // The page is not whole: what was asked for may still be there.
      HVD_TRY(memory_.read(at, out.first(size)));
      return size;
    }
    page = pages_.insert(at.value / kPageSize, std::move(bytes));
  }
  std::memcpy(out.data(), page->data() + in_page, size);
  return size;
}

}  // namespace hvd
