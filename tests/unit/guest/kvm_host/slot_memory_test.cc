// A virtual machine's memory as a view of its host's.
#include "guest/kvm_host/slot_memory.h"

#include "tests/support/matchers.h"
#include "tests/support/page_table_builder.h"

namespace hvd::linux_guest {
namespace {

constexpr VirtAddr kHere{0x7f0000000000}, kThere{0x7f0040000000};

/// A host of 64 MiB. The VMM has guest pages 0 to 3 at kHere, of which the third is not mapped, and
/// 2 MiB from 4 GiB on at kThere, as one large page.
struct Host {
  FakeMemory memory{64u << 20};
  PageTableBuilder vmm{memory, PhysAddr{0x100000}};
  std::vector<MemorySlot> slots{{{PhysAddr{0}, 4 * kPageSize}, kHere, false, {}},
                                {{PhysAddr{0x100000000}, 2u << 20}, kThere, false, {}}};
  Host() {
    vmm.map(
        "7f0000000000 -> 5000 4K rw\n"
        "7f0000001000 -> 6000 4K rw\n"
        "7f0000003000 -> 9000 4K rw\n"
        "7f0040000000 -> 800000 2M rw");
    for (const std::uint64_t at : {0x5000u, 0x6000u, 0x9000u, 0x800000u})
      memory.write_u64(PhysAddr{at}, at);
  }
  std::vector<VmArea> areas;
  std::shared_ptr<const SlotMemory> open() {
    auto process = std::make_shared<ProcessMemory>(memory, vmm.tables(), areas, nullptr);
    return std::make_shared<SlotMemory>(std::move(process), slots);
  }
};

TEST(SlotMemory, ReadsThroughTheVmmsPageTables) {
  Host host;
  const auto vm = host.open();
  EXPECT_THAT(vm->ranges(), testing::ElementsAre(PhysRange{PhysAddr{0}, 4 * kPageSize},
                                                 PhysRange{PhysAddr{0x100000000}, 2u << 20}));
  const auto value = [&](std::uint64_t at) -> Result<std::uint64_t> {
    return std::uint64_t{HVD_TRY(vm->read<le64>(PhysAddr{at}))};
  };
  EXPECT_THAT(value(0), Succeeds());
  EXPECT_EQ(value(0).value(), 0x5000u);
  EXPECT_EQ(value(0x1000).value(), 0x6000u);
  EXPECT_EQ(value(0x3000).value(), 0x9000u);
  EXPECT_EQ(value(0x100000000).value(), 0x800000u);
  // Neighbours in the guest that are apart in the host: one read over both.
  Bytes both(16);
  ASSERT_THAT(vm->read(PhysAddr{0xff8}, both), Succeeds());
  EXPECT_EQ(std::to_integer<unsigned>(both[9]), 0x60u);
}

TEST(SlotMemory, WhatIsNotMappedIsAbsentAndNotZero) {
  Host host;
  const auto vm = host.open();
  EXPECT_THAT(vm->read<le64>(PhysAddr{0x2000}), FailsWith(ErrorCode::kUnreadable, "0x2000"));
  const Extent extent = vm->extent_at(PhysAddr{0x2000});
  EXPECT_EQ(extent.kind, Extent::Kind::kAbsent);
  EXPECT_EQ(extent.reason, Absence::kUnreadable);
  EXPECT_EQ(extent.range.size, kPageSize);
  EXPECT_EQ(vm->extent_at(PhysAddr{0x3000}).kind, Extent::Kind::kStored);
}

TEST(SlotMemory, TheHostsAbsenceIsTheGuests) {
  Host host;
  host.memory.lose_page(PhysAddr{0x6000});
  const auto vm = host.open();
  EXPECT_EQ(vm->extent_at(PhysAddr{0x1000}).kind, Extent::Kind::kAbsent);
  EXPECT_THAT(vm->read<le64>(PhysAddr{0x1000}), FailsWith(ErrorCode::kNotCaptured, "0x1000"));
}

TEST(SlotMemory, BetweenSlotsThereIsNothing) {
  Host host;
  const auto vm = host.open();
  const Extent hole = vm->extent_at(PhysAddr{0x4000});
  EXPECT_EQ(hole.kind, Extent::Kind::kHole);
  EXPECT_EQ(hole.range.size, 0x100000000 - 0x4000);
  EXPECT_EQ(vm->extent_at(PhysAddr{0x100200000}).kind, Extent::Kind::kHole);
}

TEST(SlotMemory, SlotsOfAHostileHostEnd) {
  Host host;
  // Far beyond what is mapped, and to the end of all addresses.
  host.slots = {{{PhysAddr{0}, std::uint64_t{1} << 46}, VirtAddr{0xfffffffffffff000}, false, {}}};
  const auto vm = host.open();
  EXPECT_THAT(vm->read<le64>(PhysAddr{0x5000}), FailsWith(ErrorCode::kUnreadable, ""));
}

}  // namespace
}  // namespace hvd::linux_guest
