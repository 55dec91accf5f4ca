// XArrays as the kernel builds them, and as a guest may tie them.
#include "guest/linux/xarray.h"

#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr std::uint64_t kHead = 8, kShift = 3, kSlots = 32;  // as kernel_btf() has them

struct Machine {
  LinuxBuilder builder;
  Image image;
  std::unique_ptr<Kernel> kernel;
  VirtAddr array = builder.place(16);
  std::uint64_t first = 0, last = ~std::uint64_t{0};
  std::vector<std::uint64_t> heads;

  /// A node, as an entry of its parent.
  std::uint64_t node(std::uint8_t shift, const std::map<unsigned, std::uint64_t>& slots) {
    const VirtAddr at = builder.place(544, "", 64);
    builder.write(at + kShift, ByteWriter().u8(shift).view());
    for (const auto& [slot, entry] : slots) builder.write_u64(at + kSlots + slot * 8, entry);
    return at.value + 2;
  }
  Result<std::vector<std::pair<std::uint64_t, std::uint64_t>>> walk(std::uint64_t head,
                                                                    std::size_t limit = 100,
                                                                    std::size_t stop_after = 100) {
    builder.write_u64(array + kHead, head);
    if (!kernel) {
      builder.add_btf(kernel_btf());
      builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
      image = builder.build();
      kernel = Kernel::open(image).value();
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> seen;
    HVD_TRY(walk_xarray(*kernel, array, first, last, limit, [&](const XarrayEntry& entry) {
      seen.emplace_back(entry.index, entry.value);
      heads.push_back(entry.head);
      return seen.size() < stop_after;
    }));
    return seen;
  }
};

TEST(XArray, OneEntryStandsInTheHead) {
  Machine machine;
  const auto found = machine.walk(0xffff888000001000);
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, ElementsAre(Pair(0u, 0xffff888000001000u)));
}

TEST(XArray, AnEmptyOneHasNone) {
  Machine machine;
  const auto found = machine.walk(0);
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, IsEmpty());
}

TEST(XArray, EntriesComeByIndexThroughAllLevels) {
  Machine machine;
  // Values (lowest bit 1) are entries; zero and retry (258) entries are none.
  const std::uint64_t low = machine.node(0, {{0, 0x1000}, {5, 0x2000}, {6, 258}});
  const std::uint64_t high = machine.node(0, {{63, 0x77}});
  const auto found = machine.walk(machine.node(6, {{0, low}, {2, high}, {3, 0x3000}}));
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, ElementsAre(Pair(0u, 0x1000u), Pair(5u, 0x2000u), Pair(2 * 64 + 63u, 0x77u),
                                  Pair(3 * 64u, 0x3000u)));
}

TEST(XArray, SiblingsAreTheEntryTheyStandFor) {
  Machine machine;
  // Slots 8 to 11 hold one entry: the three behind it name its slot.  One that names a slot behind
  // itself is none.
  const auto found = machine.walk(machine.node(
      0, {{8, 0x1000}, {9, 8 << 2 | 2}, {10, 8 << 2 | 2}, {11, 8 << 2 | 2}, {12, 20 << 2 | 2}}));
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, ElementsAre(Pair(8u, 0x1000u), Pair(9u, 0x1000u), Pair(10u, 0x1000u),
                                  Pair(11u, 0x1000u)));
  EXPECT_THAT(machine.heads, ElementsAre(8u, 8u, 8u, 8u));
}

TEST(XArray, OnlyWhatWasAskedFor) {
  Machine machine;
  const std::uint64_t low = machine.node(0, {{1, 0x1000}, {60, 0x2000}});
  machine.first = 2, machine.last = 64 + 7;
  const auto found = machine.walk(
      machine.node(6, {{0, low}, {1, machine.node(0, {{7, 0x3000}, {8, 0x4000}})}, {2, 0x5000}}));
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, ElementsAre(Pair(60u, 0x2000u), Pair(64 + 7u, 0x3000u)));
}

TEST(XArray, StopsWhenTold) {
  Machine machine;
  const auto found = machine.walk(machine.node(0, {{1, 0x1000}, {2, 0x2000}, {3, 0x3000}}), 100, 2);
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(*found, ElementsAre(Pair(1u, 0x1000u), Pair(2u, 0x2000u)));
}

TEST(XArray, KnotsAndFloodsEnd) {
  Machine machine;
  const std::uint64_t self = machine.node(6, {});
  machine.builder.write_u64(VirtAddr{self - 2} + kSlots, self);
  EXPECT_THAT(machine.walk(self), FailsWith(ErrorCode::kCorrupt, "not a child"));
  EXPECT_THAT(machine.walk(machine.node(64, {})), FailsWith(ErrorCode::kCorrupt, "not a child"));
  EXPECT_THAT(machine.walk(machine.node(0, {{0, 0x10}, {1, 0x20}, {2, 0x30}}), 2),
              FailsWith(ErrorCode::kCorrupt, "too many"));
  std::uint64_t shared = machine.node(0, {});  // 64 ways to the next level, ten times
  for (std::uint8_t shift = 6; shift <= 60; shift += 6) {
    std::map<unsigned, std::uint64_t> slots;
    for (unsigned slot = 0; slot < 64; ++slot) slots[slot] = shared;
    shared = machine.node(shift, slots);
  }
  EXPECT_THAT(machine.walk(shared), FailsWith(ErrorCode::kCorrupt, "too many nodes"));
  EXPECT_THAT(machine.walk(0x7fff00000002), FailsWith(ErrorCode::kNotMapped, ""));
}

}  // namespace
}  // namespace hvd::linux_guest
