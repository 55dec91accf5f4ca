// `info mtree -f` as QEMU prints it, and as a hostile one might.
#include "capture/qemu/memory_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hvd {
namespace {

using testing::IsEmpty;

constexpr std::string_view kQ35 = R"(FlatView #0
 AS "VGA", root: bus master container
 AS "e1000e", root: bus master container
 Root memory region: (none)
  No rendered FlatView

FlatView #1
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
  0000000000000070-0000000000000070 (prio 0, i/o): rtc-index

FlatView #2
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
  00000000000a0000-00000000000affff (prio 1, ram): vga.vram KVM
  00000000000b0000-00000000000bffff (prio 1, i/o): vga-lowmem @0000000000010000
  00000000000c0000-00000000000cafff (prio 0, rom): pc.ram @00000000000c0000 KVM
  00000000000e0000-00000000000effff (prio 1, rom): pc.bios KVM
  0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000 KVM
  00000000b0000000-00000000bfffffff (prio 0, i/o): pcie-mmcfg-mmio
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram KVM
  00000000fffc0000-00000000ffffffff (prio 0, romd): system.flash0 KVM
  0000000100000000-000000017fffffff (prio 0, ram, nonvolatile): pc.ram @0000000080000000

FlatView #3
 AS "cpu-smm-0", root: mem-container-smram
 Root memory region: mem-container-smram
  0000000000000000-00000000ffffffff (prio 0, ram): forged
)";

std::string text_of(const std::vector<FlatRange>& view) {
  std::string out;
  for (const FlatRange& r : view) {
    char line[64];
    std::snprintf(line, sizeof line, "%llx+%llx ",
                  static_cast<unsigned long long>(r.range.begin.value),
                  static_cast<unsigned long long>(r.range.size));
    out += line + r.kind + " " + r.region + "\n";
  }
  return out;
}

TEST(FlatView, IsTheOneThatMemoryUses) {
  EXPECT_EQ(text_of(parse_flat_view(kQ35)), R"(0+a0000 ram pc.ram
a0000+10000 ram vga.vram
b0000+10000 i/o vga-lowmem
c0000+b000 rom pc.ram
e0000+10000 rom pc.bios
100000+7ff00000 ram pc.ram
b0000000+10000000 i/o pcie-mmcfg-mmio
fd000000+1000000 ram vga.vram
fffc0000+40000 romd system.flash0
100000000+80000000 ram pc.ram
)");
}

TEST(FlatView, TakesCarriageReturns) {
  std::string text;
  for (char c : kQ35) text += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_EQ(text_of(parse_flat_view(text)), text_of(parse_flat_view(kQ35)));
}

TEST(FlatView, WithoutMemoryIsEmpty) {
  EXPECT_THAT(parse_flat_view(""), IsEmpty());
  EXPECT_THAT(parse_flat_view("Unknown command: info mtree\n"), IsEmpty());
  EXPECT_THAT(parse_flat_view(kQ35.substr(0, kQ35.find("FlatView #2"))), IsEmpty());
}

TEST(FlatView, SkipsLinesThatDoNotFit) {
  const std::string head = "FlatView #0\n AS \"memory\", root: system\n";
  for (const char* line : {"  zz-ff (prio 0, ram): x", "  ff (prio 0, ram): x",
                           "  20-10 (prio 0, ram): x", "  10-20 ram: x", "  10-20 (prio 0): x",
                           "  10-20 (prio 0, ram) x", "  10-20 (prio 0, ram):x",
                           "  -20 (prio 0, ram): x", "  10000000000000000-20 (prio 0, ram): x",
                           "  10-20 ): , (prio ", "  10- 20 (prio 0, ram): x"}) {
    EXPECT_THAT(parse_flat_view(head + line + "\n"), IsEmpty()) << line;
  }
  EXPECT_EQ(
      text_of(parse_flat_view(head + "  0000000000000000-ffffffffffffffff (prio 0, ram): all\n")),
      "0+ffffffffffffffff ram all\n");
  EXPECT_EQ(text_of(parse_flat_view(head + "  10-1f (prio -1, ram): a (b): c\n")),
            "10+10 ram a (b): c\n");
}

TEST(FlatView, EveryPrefixIsHarmless) {
  for (std::size_t size = 0; size <= kQ35.size(); ++size) {
    EXPECT_LE(parse_flat_view(kQ35.substr(0, size)).size(), 10u);
  }
}

}  // namespace
}  // namespace hvd
