#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/address.h"
#include "tests/support/fake_memory.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kTop = ~std::uint64_t{0};

PhysRange range(std::uint64_t begin, std::uint64_t size) { return {PhysAddr{begin}, size}; }

TEST(PhysRange, MembershipNeedsNoEnd) {
  EXPECT_TRUE(range(100, 10).contains(PhysAddr{109}));
  EXPECT_FALSE(range(100, 10).contains(PhysAddr{110}));
  EXPECT_FALSE(range(100, 10).contains(PhysAddr{99}));
  EXPECT_FALSE(range(100, 0).contains(PhysAddr{100}));
  EXPECT_TRUE(range(kTop - 1, 2).contains(PhysAddr{kTop}));
  EXPECT_FALSE(range(kTop - 1, 2).contains(PhysAddr{0}));
}

TEST(Normalised, SortsJoinsAndDropsEmptyRanges) {
  EXPECT_THAT(normalised({}), IsEmpty());
  EXPECT_THAT(normalised({range(30, 5), range(10, 5), range(20, 0)}),
              ElementsAre(range(10, 5), range(30, 5)));
  EXPECT_THAT(normalised({range(10, 5), range(15, 5)}), ElementsAre(range(10, 10))) << "they touch";
  EXPECT_THAT(normalised({range(10, 100), range(20, 5)}), ElementsAre(range(10, 100)))
      << "one inside the other";
  EXPECT_THAT(normalised({range(10, 10), range(15, 10)}), ElementsAre(range(10, 15)));
  EXPECT_THAT(normalised({range(10, 5), range(16, 5)}), ElementsAre(range(10, 5), range(16, 5)))
      << "a byte between them";
}

TEST(Normalised, CutsWhatWouldWrapAround) {
  EXPECT_THAT(normalised({range(kTop - 9, 100)}), ElementsAre(range(kTop - 9, 9)));
  EXPECT_THAT(normalised({range(0, kTop)}), ElementsAre(range(0, kTop)));
  EXPECT_THAT(normalised({range(0, 10), range(5, kTop)}), ElementsAre(range(0, kTop)));
  EXPECT_THAT(normalised({range(5, kTop), range(kTop - 3, 100)}), ElementsAre(range(5, kTop - 5)));
}

TEST(Normalised, GivesNoEmptyRangeAtTheTop) {
  EXPECT_THAT(normalised({range(kTop, 1)}), IsEmpty());
}

TEST(PhysicalMemory, ReadsAcrossPagesAndNamesTheFirstMissingAddress) {
  FakeMemory memory(4 * kPageSize);
  memory.write(PhysAddr{kPageSize - 2}, as_bytes("abcd"));
  memory.lose_page(PhysAddr{2 * kPageSize});
  Bytes got(4);
  ASSERT_THAT(memory.read(PhysAddr{kPageSize - 2}, got), Succeeds());
  EXPECT_EQ(to_string(got), "abcd");
  got.resize(2 * kPageSize);
  EXPECT_THAT(memory.read(PhysAddr{kPageSize + 8}, got),
              FailsWith(ErrorCode::kNotCaptured, "0x2000"));
  EXPECT_THAT(memory.read(PhysAddr{4 * kPageSize}, got),
              FailsWith(ErrorCode::kNotCaptured, "0x4000"));
}

}  // namespace
}  // namespace hvd
