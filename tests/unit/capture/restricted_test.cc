// Memory that must not be read, and what is there instead.
#include "capture/restricted.h"

#include "capture/cached_memory.h"
#include "tests/support/fake_memory.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

constexpr std::uint64_t kSize = 16 * kPageSize;

struct Machine {
  FakeMemory memory{kSize};
  Machine() {
    for (std::uint64_t at = 0; at < kSize; at += 8)
      memory.write_u64(PhysAddr{at}, 0x1111111111111111);
    for (std::uint64_t page = 4; page < 10; ++page) memory.lose_page(PhysAddr{page * kPageSize});
  }
};

std::vector<RestrictedRange> ranges(RestrictedAction action) {
  return {{{PhysAddr{4 * kPageSize}, 6 * kPageSize}, action}};
}

Extent page_extent(const PhysicalMemory& memory, std::uint64_t page) {
  return memory.extent_at(PhysAddr{page * kPageSize});
}

TEST(Restricted, SkippedPagesAreAbsentAndNeverRead) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, ranges(RestrictedAction::kSkip));
  EXPECT_EQ(page_extent(memory, 3).kind, Extent::Kind::kStored);
  for (std::uint64_t page = 4; page < 10; ++page) {
    EXPECT_EQ(page_extent(memory, page).kind, Extent::Kind::kAbsent) << page;
    EXPECT_EQ(page_extent(memory, page).reason, Absence::kRestricted) << page;
  }
  EXPECT_EQ(page_extent(memory, 10).kind, Extent::Kind::kStored);
  EXPECT_THAT(memory.read<le64>(PhysAddr{5 * kPageSize}),
              FailsWith(ErrorCode::kNotCaptured, "restricted"));
  // Also through the cache, and by a read that only touches it.
  const CachedMemory cached(memory);
  EXPECT_THAT(cached.read<le64>(PhysAddr{4 * kPageSize - 4}),
              FailsWith(ErrorCode::kNotCaptured, "restricted"));
  EXPECT_THAT(cached.read<le64>(PhysAddr{4 * kPageSize - 8}), Succeeds());
}

TEST(Restricted, SubstitutedPagesSayWhatTheyAre) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, ranges(RestrictedAction::kSubstitute));
  EXPECT_EQ(page_extent(memory, 4).kind, Extent::Kind::kStored);
  Bytes page(kPageSize);
  ASSERT_THAT(memory.read(PhysAddr{4 * kPageSize}, page), Succeeds());
  EXPECT_TRUE(to_string(page).starts_with(std::string(kFiller) + std::string(kFiller)));
}

TEST(Restricted, ScrubbedPagesAreZero) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, ranges(RestrictedAction::kScrub));
  EXPECT_EQ(page_extent(memory, 4).kind, Extent::Kind::kZero);
  const auto value = memory.read<le64>(PhysAddr{6 * kPageSize});
  ASSERT_THAT(value, Succeeds());
  EXPECT_EQ(*value, 0u);
}

TEST(Restricted, WhatCannotBeReadDoesNotStopTheRest) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, {});
  EXPECT_EQ(page_extent(memory, 3).range.size, kPageSize);
  EXPECT_EQ(page_extent(memory, 4).kind, Extent::Kind::kAbsent);
}

TEST(Replacement, PutsWhatThePolicySaysWhereNothingIs) {
  const Replacement with{.unreadable = RestrictedAction::kScrub,
                         .restricted = RestrictedAction::kSubstitute};
  Bytes page(kPageSize, std::byte{0xff});
  EXPECT_TRUE(replace(with, PhysAddr{0}, Absence::kUnreadable, page));
  EXPECT_TRUE(all_zero(page));
  EXPECT_TRUE(replace(with, PhysAddr{0}, Absence::kRestricted, page));
  EXPECT_EQ(to_string(page).substr(0, kFiller.size()), kFiller);
  EXPECT_FALSE(replace(with, PhysAddr{0}, Absence::kFilteredFree, page));
  EXPECT_FALSE(replace({}, PhysAddr{0}, Absence::kUnreadable, page));
}

}  // namespace
}  // namespace hvd
