// Host memory that must not be read: an access map from the policy.
#pragma once

#include <memory>
#include <vector>

#include "base/facts.h"
#include "base/physical_memory.h"

namespace hvd {

enum class RestrictedAction : std::uint8_t {
  kSkip,        // absent with reason restricted
  kSubstitute,  // a filler page that says what it is
  kScrub,       // zero
};

/// Of pages by the reason for which they are not there.
struct Replacement {
  RestrictedAction unreadable = RestrictedAction::kSkip;  // tried, or known to fail
  RestrictedAction restricted = RestrictedAction::kSkip;  // poisoned, offline, or told to skip
  bool operator==(const Replacement&) const = default;
};

struct RestrictedRange {
  PhysRange range;  // whole pages
  RestrictedAction action = RestrictedAction::kSkip;
};

/// What a substituted page holds, again and again.
inline constexpr std::string_view kFiller = "hvdump: restricted\n";

/// Fills `out`, the bytes from `at` on, with the filler or, for kScrub, with zeros.
void fill(PhysAddr at, MutableBytes out, RestrictedAction action);

/// Puts what `with` says in the place of bytes that are missing for `reason`; false when they are
/// to stay missing.
bool replace(const Replacement& with, PhysAddr at, Absence reason, MutableBytes out);

/// For a partition's facts: what was restricted and what happened to it.
std::vector<RestrictedFact> restricted_facts(const std::vector<RestrictedRange>& ranges);

/// `memory` without the bytes of `ranges`, which are never read: whoever looks at it, for whatever
/// partition, meets the action instead. Of ranges that overlap the first counts. `memory` must
/// outlive the result.
class RestrictedMemory final : public PhysicalMemory {
 public:
  RestrictedMemory(const PhysicalMemory& memory, std::vector<RestrictedRange> ranges)
      : memory_(memory), restricted_(std::move(ranges)) {}
  const std::vector<PhysRange>& ranges() const override { return memory_.ranges(); }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const RestrictedRange* find(PhysAddr at) const;
  std::uint64_t until_next(PhysAddr at) const;  // bytes before the next restricted range

  const PhysicalMemory& memory_;
  const std::vector<RestrictedRange> restricted_;
};

}  // namespace hvd
