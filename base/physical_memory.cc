#include "base/physical_memory.h"

namespace hvd {

Result<void> PhysicalMemory::read(PhysAddr at, MutableBytes out) const {
  while (!out.empty()) {
    const std::size_t got = HVD_TRY(read_some(at, out));
    at = at + got;
    out = out.subspan(got);
  }
  return {};
}

}  // namespace hvd
