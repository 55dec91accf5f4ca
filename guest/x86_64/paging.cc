#include "guest/x86_64/paging.h"

#include <array>

#include "base/text.h"

namespace hvd {
namespace {

constexpr std::uint64_t kPresent = 1u << 0;
constexpr std::uint64_t kWritable = 1u << 1;
constexpr std::uint64_t kLargePage = 1u << 7;
constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;
constexpr std::uint64_t kAddressMask = 0x000ffffffffff000;
constexpr std::uint64_t kCr0Paging = std::uint64_t{1} << 31;
constexpr std::uint64_t kCr4Pae = 1u << 5;
constexpr std::uint64_t kCr4La57 = 1u << 12;

// Level 1 is the page table; an entry of level n maps 2^shift(n) bytes.
constexpr unsigned shift(unsigned level) { return 12 + 9 * (level - 1); }

// More than any real kernel has: enough for 2 TiB mapped page by page.
constexpr std::size_t kMaxTables = 1u << 20;

using Table = std::array<le64, 512>;

}  // namespace

Result<PageTables> PageTables::of(const PhysicalMemory& memory, const Registers& cpu) {
  const auto cr0 = cpu.get(Reg::kCr0), cr3 = cpu.get(Reg::kCr3), cr4 = cpu.get(Reg::kCr4);
  if (!cr0 || !cr3 || !cr4)
    return Error{ErrorCode::kNotFound, "the CPU's control registers are not known"};
  if (!(*cr0 & kCr0Paging) || !(*cr4 & kCr4Pae))
    return Error{ErrorCode::kNotFound, "the CPU was not in long mode"};
  return PageTables(memory, PhysAddr{*cr3 & kAddressMask}, (*cr4 & kCr4La57) != 0);
}

Result<PhysAddr> PageTables::translate(VirtAddr at) const {
  PhysAddr table = root_;
  for (unsigned level = five_level_ ? 5 : 4; level >= 1; --level) {
    const std::uint64_t index = (at.value >> shift(level)) & 511;
    const std::uint64_t entry =
        HVD_TRY(with_context(memory_->read<le64>(table + index * 8), "page table"));
    if (!(entry & kPresent)) return Error{ErrorCode::kNotMapped, hex(at.value) + " is not mapped"};
    const bool leaf = level == 1 || (level <= 3 && (entry & kLargePage));
    if (leaf) {
      const std::uint64_t offset = at.value & ((std::uint64_t{1} << shift(level)) - 1);
      return PhysAddr{(entry & kAddressMask & ~((std::uint64_t{1} << shift(level)) - 1)) + offset};
    }
    table = PhysAddr{entry & kAddressMask};
  }
  return Error{ErrorCode::kNotMapped, hex(at.value) + " is not mapped"};
}

Result<PageTables::AbsentEntry> PageTables::absent_entry(VirtAddr at) const {
  PhysAddr table = root_;
  for (unsigned level = five_level_ ? 5 : 4; level >= 1; --level) {
    const std::uint64_t index = (at.value >> shift(level)) & 511;
    const std::uint64_t entry =
        HVD_TRY(with_context(memory_->read<le64>(table + index * 8), "page table"));
    const std::uint64_t span = std::uint64_t{1} << shift(level);
    const std::uint64_t offset = at.value & (span - 1);
    if (!(entry & kPresent)) return AbsentEntry{entry, span - offset, offset};
    if (level == 1 || (level <= 3 && (entry & kLargePage))) break;
    table = PhysAddr{entry & kAddressMask};
  }
  return Error{ErrorCode::kNotFound, hex(at.value) + " is mapped"};
}

struct PageTables::Walk {
  std::uint64_t from, to;
  std::size_t limit;
  std::size_t& unreadable;
  std::vector<PageMapping> out;
  bool full = false;
  std::size_t tables_left = kMaxTables;
  std::vector<PhysRange>* tables =
      nullptr;  // collects them when asked to; then mappings do not count

  void add(std::uint64_t virt, std::uint64_t phys, std::uint64_t size, bool writable,
           bool executable) {
    if (tables) return;
    // Cut to what was asked for.
    const std::uint64_t skip = virt < from ? from - virt : 0;
    const std::uint64_t keep = std::min(size - 1, to - virt) + 1 - skip;
    virt += skip;
    phys += skip;
    if (!out.empty()) {
      PageMapping& last = out.back();
      if (last.virt.value + last.size == virt && last.phys.value + last.size == phys &&
          last.writable == writable && last.executable == executable) {
        last.size += keep;
        return;
      }
    }
    if (out.size() == limit) {
      if (!full) ++unreadable;
      full = true;
      return;
    }
    out.push_back({VirtAddr{virt}, PhysAddr{phys}, keep, writable, executable});
  }
};

// The depth is bounded by the level and the result by `limit`, but a guest can make all 512 entries
// of each level name one table and so have billions of them walked without a single mapping: hence
// the bound on tables read.
void PageTables::collect(Walk& walk, PhysAddr table, unsigned level, std::uint64_t base,
                         bool writable, bool executable) const {
  if (walk.tables_left == 0) {
    if (!walk.full) ++walk.unreadable;
    walk.full = true;
    return;
  }
  --walk.tables_left;
  if (walk.tables) walk.tables->push_back({table, kPageSize});
  Table entries;
  if (!memory_->read(table, std::as_writable_bytes(std::span(entries)))) {
    ++walk.unreadable;
    return;
  }
  const std::uint64_t span = std::uint64_t{1} << shift(level);
  const unsigned top = five_level_ ? 5 : 4;
  for (std::uint64_t index = 0; index < 512 && !walk.full; ++index) {
    std::uint64_t virt = base + index * span;
    if (level == top && (index & 256))
      virt |= ~std::uint64_t{0} << (shift(top) + 9);  // canonical upper half
    if (virt > walk.to || virt + (span - 1) < walk.from) continue;
    const std::uint64_t entry = entries[index];
    if (!(entry & kPresent)) continue;
    const bool can_write = writable && (entry & kWritable);
    const bool can_execute = executable && !(entry & kNoExecute);
    if (level == 1 || (level <= 3 && (entry & kLargePage))) {
      walk.add(virt, entry & kAddressMask & ~(span - 1), span, can_write, can_execute);
    } else {
      collect(walk, PhysAddr{entry & kAddressMask}, level - 1, virt, can_write, can_execute);
    }
  }
}

std::vector<PageMapping> PageTables::mappings(VirtAddr from, VirtAddr to, std::size_t limit,
                                              std::size_t& unreadable) const {
  Walk walk{from.value, to.value, limit, unreadable, {}};
  collect(walk, root_, five_level_ ? 5 : 4, 0, true, true);
  return std::move(walk.out);
}

std::vector<PhysRange> PageTables::table_pages(VirtAddr from, VirtAddr to) const {
  std::vector<PhysRange> out;
  std::size_t unreadable = 0;
  Walk walk{from.value, to.value, 0, unreadable, {}};
  walk.tables = &out;
  collect(walk, root_, five_level_ ? 5 : 4, 0, true, true);
  return normalised(std::move(out));
}

}  // namespace hvd
