// The memory areas of a process, as the kernel's maple tree has them and as a guest may tie it.
#include "guest/kvm_host/vm_areas.h"

#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kRoot = 16 + 8;  // of mm_struct.mm_mt.ma_root, as kernel_btf() has them
constexpr std::uint64_t kLeaf = 1, kArange = 3;

struct Process {
  LinuxBuilder builder;
  Image image;
  std::unique_ptr<Kernel> kernel;
  VirtAddr mm = builder.place(64);

  std::uint64_t area(std::uint64_t begin, std::uint64_t end, std::uint64_t file = 0) {
    const VirtAddr at = builder.place(64, "", 64);
    builder.write_u64(at, begin);
    builder.write_u64(at + 8, end);
    builder.write_u64(at + 32, 5);
    builder.write_u64(at + 40, file);
    return at.value;
  }
  /// Slots with the pivots behind them; the last pivot may be left out.
  std::uint64_t node(std::uint64_t type, const std::vector<std::uint64_t>& slots,
                     const std::vector<std::uint64_t>& pivots) {
    const VirtAddr at = builder.place(256, "", 256);
    const std::uint64_t slots_at = type == kArange ? 80 : 128;
    for (std::size_t i = 0; i < slots.size(); ++i)
      builder.write_u64(at + slots_at + i * 8, slots[i]);
    for (std::size_t i = 0; i < pivots.size(); ++i) builder.write_u64(at + 8 + i * 8, pivots[i]);
    return at.value | type << 3;
  }
  Result<std::vector<VmArea>> read(std::uint64_t root) {
    builder.write_u64(mm + kRoot, root);
    builder.add_btf(kernel_btf());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    kernel = Kernel::open(image).value();
    return read_vm_areas(*kernel, mm);
  }
};

std::vector<std::uint64_t> begins(const Result<std::vector<VmArea>>& areas) {
  std::vector<std::uint64_t> out;
  for (const VmArea& area : areas.value()) out.push_back(area.begin.value);
  return out;
}

TEST(VmAreas, OneAreaStandsInTheRoot) {
  Process process;
  const auto areas = process.read(process.area(0x1000, 0x3000, 0x77));
  ASSERT_THAT(areas, Succeeds());
  ASSERT_EQ(areas->size(), 1u);
  EXPECT_EQ(areas->front().end, VirtAddr{0x3000});
  EXPECT_EQ(areas->front().file, VirtAddr{0x77});
  EXPECT_EQ(areas->front().file_offset, 5 * kPageSize);
}

TEST(VmAreas, ComeInOrderThroughInnerNodesAndGaps) {
  Process process;
  const std::uint64_t low =
      process.node(kLeaf, {0, process.area(0x1000, 0x2000), 0, process.area(0x8000, 0x9000)},
                   {0xfff, 0x1fff, 0x7fff, 0x8fff});
  // A full leaf: the last slot has no pivot.
  std::vector<std::uint64_t> slots, pivots;
  for (std::uint64_t i = 0; i < 16; ++i) {
    slots.push_back(process.area(0x10000 + i * 0x1000, 0x11000 + i * 0x1000));
    if (i < 15) pivots.push_back(0x10fff + i * 0x1000);
  }
  const std::uint64_t high = process.node(kLeaf, slots, pivots);
  const auto areas = process.read(process.node(kArange, {low, high}, {0x8fff, 0x1ffff}) | 2);
  ASSERT_THAT(areas, Succeeds());
  EXPECT_EQ(areas->size(), 18u);
  EXPECT_EQ(begins(areas)[1], 0x8000u);
  EXPECT_EQ(begins(areas)[17], 0x1f000u);
}

TEST(VmAreas, KnotsAndDisorderEnd) {
  {
    Process process;
    const std::uint64_t self = process.node(kArange, {0}, {0});
    process.builder.write_u64(VirtAddr{self & ~std::uint64_t{0xff}} + 80, self);
    EXPECT_THAT(process.read(self | 2), FailsWith(ErrorCode::kCorrupt, "does not end"));
  }
  {
    Process process;
    const auto root = process.node(
        kLeaf, {process.area(0x5000, 0x6000), process.area(0x1000, 0x2000)}, {0x5fff, 0x6fff});
    EXPECT_THAT(process.read(root | 2), FailsWith(ErrorCode::kCorrupt, "out of order"));
  }
  {
    Process process;
    EXPECT_THAT(process.read(process.node(9, {}, {}) | 2),
                FailsWith(ErrorCode::kCorrupt, "no known type"));
  }
}

}  // namespace
}  // namespace hvd::linux_guest
