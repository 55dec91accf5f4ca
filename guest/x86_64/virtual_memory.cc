#include "guest/x86_64/virtual_memory.h"

#include <algorithm>

#include "base/text.h"

namespace hvd {
namespace {

constexpr std::size_t kMaxKnown = 1u << 18;

}  // namespace

Result<PhysAddr> VirtualMemory::translate(VirtAddr at) const {
  const std::uint64_t page = at.value / kPageSize;
  if (const auto found = known_.find(page); found != known_.end()) {
    return PhysAddr{found->second + at.value % kPageSize};
  }
  const PhysAddr phys = HVD_TRY(tables_.translate(at));
  if (known_.size() < kMaxKnown) known_[page] = phys.value - at.value % kPageSize;
  return phys;
}

Result<void> VirtualMemory::read(VirtAddr at, MutableBytes out) const {
  while (!out.empty()) {
    std::size_t size = std::min<std::size_t>(out.size(), kPageSize - at.value % kPageSize);
    const PhysAddr phys = HVD_TRY(translate(at));
    // Neighbours often are neighbours in physical memory too: then one read serves them.
    while (size < out.size()) {
      const auto next = translate(at + size);
      if (!next || *next != phys + size) break;
      size = std::min<std::size_t>(size + kPageSize, out.size());
    }
    if (auto done = memory_->read(phys, out.first(size)); !done)
      return std::move(done).error().in(hex(at.value));
    at = at + size;
    out = out.subspan(size);
  }
  return {};
}

}  // namespace hvd
