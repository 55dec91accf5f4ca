#include "capture/source_memory.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace hvd {
namespace {

const PhysRange* range_of(const std::vector<PhysRange>& ranges, PhysAddr at) {
  const auto next = std::upper_bound(ranges.begin(), ranges.end(), at,
                                     [](PhysAddr a, const PhysRange& r) { return a < r.begin; });
  if (next == ranges.begin() || !std::prev(next)->contains(at)) return nullptr;
  return &*std::prev(next);
}

}  // namespace

Extent SourceMemory::extent_at(PhysAddr at) const {
  Extent extent;
  if (const PhysRange* range = range_of(source_.ranges(), at)) {
    extent.kind = Extent::Kind::kStored;
    extent.range = {at, range->begin.value + range->size - at.value};
    return extent;
  }
  extent.range = {at, kPageSize - at.value % kPageSize};
  return extent;
}

Result<std::size_t> SourceMemory::read_some(PhysAddr at, MutableBytes out) const {
  const PhysRange* range = range_of(source_.ranges(), at);
  if (!range) return Error{ErrorCode::kNotCaptured, "address " + hex(at.value) + " is no RAM"};
  const std::uint64_t in_page = at.value % kPageSize;
  const PhysAddr page{at.value - in_page};
  const std::uint64_t pages = (in_page + out.size() + kPageSize - 1) / kPageSize;
  const std::uint64_t left = (range->begin.value + range->size - page.value) / kPageSize;
  thread_local Bytes scratch(64 * kPageSize);
  const PageRun run = source_.fetch(page, std::min(pages, left), scratch);
  const auto size = static_cast<std::size_t>(
      std::min<std::uint64_t>(out.size(), run.pages * kPageSize - in_page));
  switch (run.kind) {
    case PageRun::Kind::kZero: std::memset(out.data(), 0, size); return size;
    case PageRun::Kind::kBytes:
      std::memcpy(out.data(), run.bytes.data() + in_page, size);
      return size;
    case PageRun::Kind::kAbsent: break;
  }
  return Error{ErrorCode::kUnreadable, "address " + hex(at.value) + " cannot be read"};
}

}  // namespace hvd
