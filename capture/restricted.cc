#include "capture/restricted.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace hvd {

std::vector<RestrictedFact> restricted_facts(const std::vector<RestrictedRange>& ranges) {
  constexpr const char* kActions[] = {"skip", "substitute", "scrub"};
  std::vector<RestrictedFact> out;
  for (const RestrictedRange& range : ranges)
    out.push_back({range.range, kActions[static_cast<std::size_t>(range.action)]});
  return out;
}

void fill(PhysAddr at, MutableBytes out, RestrictedAction action) {
  const bool filler = action == RestrictedAction::kSubstitute;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = filler ? static_cast<std::byte>(kFiller[(at.value + i) % kPageSize % kFiller.size()])
                    : std::byte{0};
  }
}

bool replace(const Replacement& with, PhysAddr at, Absence reason, MutableBytes out) {
  RestrictedAction action = RestrictedAction::kSkip;
  if (reason == Absence::kUnreadable) action = with.unreadable;
  if (reason == Absence::kRestricted) action = with.restricted;
  if (action == RestrictedAction::kSkip) return false;
  fill(at, out, action);
  return true;
}

const RestrictedRange* RestrictedMemory::find(PhysAddr at) const {
  const auto found = std::find_if(restricted_.begin(), restricted_.end(),
                                  [&](const RestrictedRange& r) { return r.range.contains(at); });
  return found == restricted_.end() ? nullptr : &*found;
}

std::uint64_t RestrictedMemory::until_next(PhysAddr at) const {
  std::uint64_t bytes = ~at.value;
  for (const RestrictedRange& other : restricted_) {
    if (other.range.begin > at) bytes = std::min(bytes, other.range.begin.value - at.value);
  }
  return bytes;
}

Extent RestrictedMemory::extent_at(PhysAddr at) const {
  Extent extent = memory_.extent_at(at);
  const RestrictedRange* restricted = find(at);
  const std::uint64_t limit =
      restricted ? restricted->range.begin.value + restricted->range.size - at.value
                 : until_next(at);
  extent.range.size = std::min({extent.range.size, limit, until_next(at)});
  if (!restricted || extent.kind == Extent::Kind::kHole) return extent;
  switch (restricted->action) {
    case RestrictedAction::kSkip:
      extent.kind = Extent::Kind::kAbsent;
      extent.reason = Absence::kRestricted;
      break;
    case RestrictedAction::kSubstitute: extent.kind = Extent::Kind::kStored; break;
    case RestrictedAction::kScrub: extent.kind = Extent::Kind::kZero; break;
  }
  return extent;
}

Result<std::size_t> RestrictedMemory::read_some(PhysAddr at, MutableBytes out) const {
  const RestrictedRange* restricted = find(at);
  if (!restricted) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), until_next(at)));
    HVD_TRY(memory_.read(at, out.first(size)));
    return size;
  }
  const std::uint64_t left = restricted->range.begin.value + restricted->range.size - at.value;
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>({out.size(), left, until_next(at)}));
  if (restricted->action == RestrictedAction::kSkip)
    return Error{ErrorCode::kNotCaptured,
                 "address " + hex(at.value) + " must not be read: restricted"};
  fill(at, out.first(size), restricted->action);
  return size;
}

}  // namespace hvd
