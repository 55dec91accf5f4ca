// What stands behind the addresses of a process that its page tables do not map.
#include "guest/kvm_host/process_memory.h"

#include "tests/support/matchers.h"
#include "tests/support/page_table_builder.h"

namespace hvd::linux_guest {
namespace {

using Kind = ProcessRun::Kind;
constexpr VirtAddr kHere{0x7f0000000000};

struct Process {
  FakeMemory memory{8u << 20};
  PageTableBuilder tables{memory, PhysAddr{0x100000}};
  std::vector<VmArea> areas{{kHere, kHere + 0x8000, VmArea::kWrite, VirtAddr{}, 0, true}};

  Process() { tables.map("7f0000000000 -> 5000 4K rw\n7f0000001000 -> 6000 4K rw"); }
  std::vector<ProcessRun> runs(std::uint64_t size) const {
    return ProcessMemory(memory, tables.tables(), areas, nullptr).runs(kHere, size);
  }
};

TEST(ProcessMemory, UntouchedAnonymousMemoryIsZeroAndNoAreaIsNowhere) {
  const auto runs = Process().runs(0x10000);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].kind, Kind::kInMemory);
  EXPECT_EQ(runs[0].size, 0x2000u);
  EXPECT_EQ(runs[0].phys, PhysAddr{0x5000});
  EXPECT_EQ(runs[1].kind, Kind::kZero);
  EXPECT_EQ(runs[1].size, 0x6000u);
  EXPECT_EQ(runs[2].kind, Kind::kNowhere);
  EXPECT_EQ(runs[2].begin, kHere + 0x8000);
  EXPECT_EQ(runs[2].size, 0x8000u);
}

TEST(ProcessMemory, SwappedOutIsNotZero) {
  Process process;
  process.tables.entry(kHere.value + 0x3000, 1,
                       0x1234000000000a00);  // a swap entry: bits 0, 8 clear
  const auto runs = process.runs(0x8000);
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[1].kind, Kind::kZero);
  EXPECT_EQ(runs[2].kind, Kind::kSwappedOut);
  EXPECT_EQ(runs[2].size, kPageSize);
  EXPECT_EQ(runs[3].kind, Kind::kZero);
}

TEST(ProcessMemory, APageThatMustNotBeAccessedForNowIsStillThere) {
  Process process;
  const std::uint64_t address = ~std::uint64_t{0x7000} & 0x000ffffffffff000;
  process.tables.entry(kHere.value + 0x2000, 1, address | 1u << 8);
  const auto runs = process.runs(0x3000);
  ASSERT_EQ(runs.size(), 1u);  // it goes on where the pages before it end
  EXPECT_EQ(runs[0].size, 0x3000u);
}

TEST(ProcessMemory, WithoutAreasNothingIsTakenForZero) {
  Process process;
  process.areas.clear();
  const auto runs = process.runs(0x4000);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[1].kind, Kind::kNowhere);
}

TEST(ProcessMemory, FilesAndDevicesAreNotZero) {
  Process process;
  process.areas[0].file = VirtAddr{0x1000};
  EXPECT_EQ(process.runs(0x4000)[1].kind, Kind::kNowhere);  // there is no kernel to ask
  process.areas[0].file = VirtAddr{};
  process.areas[0].flags |= VmArea::kPfnMap;
  EXPECT_EQ(process.runs(0x4000)[1].kind, Kind::kNowhere);
}

}  // namespace
}  // namespace hvd::linux_guest
