// Page tables from text, one mapping a line.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "guest/x86_64/paging.h"
#include "tests/support/fake_memory.h"

namespace hvd {

/// Lines "VIRT -> PHYS SIZE RIGHTS", numbers hexadecimal, SIZE 4K, 2M or 1G, RIGHTS of "rwx":
///   ffffffff81000000 -> 1000000 2M rx
/// Tables are put one behind the other from `root` on.
class PageTableBuilder {
 public:
  PageTableBuilder(FakeMemory& memory, PhysAddr root, bool five_level = false)
      : memory_(memory), root_(root), five_level_(five_level), next_table_(root + kPageSize) {
    memory_.write(root, Bytes(kPageSize));
  }

  PageTableBuilder& map(const std::string& lines) {
    std::istringstream in(lines);
    std::string virt, arrow, phys, size, rights;
    while (in >> virt >> arrow >> phys >> size >> rights) {
      EXPECT_EQ(arrow, "->");
      const unsigned level = size == "4K" ? 1 : size == "2M" ? 2 : size == "1G" ? 3 : 0;
      EXPECT_NE(level, 0u) << size;
      const std::uint64_t bits =
          (rights.find('w') != std::string::npos ? 2u : 0u) | 1u | (level > 1 ? 0x80u : 0u);
      const std::uint64_t no_execute =
          rights.find('x') == std::string::npos ? std::uint64_t{1} << 63 : 0;
      entry(std::stoull(virt, nullptr, 16), level,
            std::stoull(phys, nullptr, 16) | bits | no_execute);
    }
    return *this;
  }

  /// Sets the entry of `level` (1: the last one) that translates `virt`, making the tables above
  /// it.
  void entry(std::uint64_t virt, unsigned level, std::uint64_t value) {
    PhysAddr table = root_;
    for (unsigned at = five_level_ ? 5 : 4; at > level; --at) {
      const PhysAddr slot = table + 8 * index(virt, at);
      std::uint64_t next = memory_.read<le64>(slot).value();
      if (!(next & 1)) {
        next = next_table_.value | 3;
        memory_.write(next_table_, Bytes(kPageSize));
        memory_.write_u64(slot, next);
        next_table_ = next_table_ + kPageSize;
      }
      table = PhysAddr{next & 0x000ffffffffff000};
    }
    memory_.write_u64(table + 8 * index(virt, level), value);
  }

  PageTables tables() const { return PageTables(memory_, root_, five_level_); }

 private:
  static std::uint64_t index(std::uint64_t virt, unsigned level) {
    return (virt >> (12 + 9 * (level - 1))) & 511;
  }
  FakeMemory& memory_;
  PhysAddr root_;
  bool five_level_;
  PhysAddr next_table_;
};

}  // namespace hvd
