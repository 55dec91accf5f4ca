// Memory that must not be read, and what is there instead.
#include "capture/restricted.h"

#include "capture/cached_memory.h"
#include "capture/memory_pages.h"
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

// What a capture would store of it; a lost page that is asked for would be unreadable.
PageRun run_at(const PhysicalMemory& memory, std::uint64_t page, Bytes& scratch) {
  scratch.resize(8 * kPageSize);
  return MemoryPages(memory).fetch(PhysAddr{page * kPageSize}, 16 - page, scratch);
}

TEST(Restricted, SkippedPagesAreAbsentAndNeverRead) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, ranges(RestrictedAction::kSkip));
  Bytes scratch;
  EXPECT_EQ(run_at(memory, 3, scratch).kind, PageRun::Kind::kBytes);
  for (std::uint64_t page = 4; page < 10; ++page) {
    const PageRun run = run_at(memory, page, scratch);
    EXPECT_EQ(run.kind, PageRun::Kind::kAbsent) << page;
    EXPECT_EQ(run.reason, Absence::kRestricted) << page;
  }
  EXPECT_EQ(run_at(memory, 10, scratch).kind, PageRun::Kind::kBytes);
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
  Bytes scratch;
  const PageRun run = run_at(memory, 4, scratch);
  ASSERT_EQ(run.kind, PageRun::Kind::kBytes);
  EXPECT_TRUE(to_string(run.bytes).starts_with(std::string(kFiller) + std::string(kFiller)));
}

TEST(Restricted, ScrubbedPagesAreZero) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, ranges(RestrictedAction::kScrub));
  Bytes scratch;
  EXPECT_EQ(run_at(memory, 4, scratch).kind, PageRun::Kind::kZero);
  const auto value = memory.read<le64>(PhysAddr{6 * kPageSize});
  ASSERT_THAT(value, Succeeds());
  EXPECT_EQ(*value, 0u);
}

TEST(Restricted, WhatCannotBeReadDoesNotStopTheRest) {
  Machine machine;
  const RestrictedMemory memory(machine.memory, {});
  Bytes scratch;
  EXPECT_EQ(run_at(memory, 3, scratch).pages, 1u);
  const PageRun run = run_at(memory, 4, scratch);
  EXPECT_EQ(run.kind, PageRun::Kind::kAbsent);
}

}  // namespace
}  // namespace hvd
