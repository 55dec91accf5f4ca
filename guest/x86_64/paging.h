// x86-64 page tables, 4 and 5 levels (Intel SDM volume 3, chapter 4; AMD APM volume 2, chapter 5).
#pragma once

#include <string>
#include <vector>

#include "base/physical_memory.h"
#include "base/registers.h"

namespace hvd {

struct PageMapping {
  VirtAddr virt;
  PhysAddr phys;
  std::uint64_t size = 0;  // bytes
  bool writable = false;
  bool executable = false;
};

class PageTables {
 public:
  /// `memory` must outlive the object. Nothing is read yet.
  PageTables(const PhysicalMemory& memory, PhysAddr root, bool five_level)
      : memory_(&memory), root_(root), five_level_(five_level) {}

  /// What a CPU in long mode uses; kNotFound when `cpu` lacks CR3 or CR4 or pages nothing.
  static Result<PageTables> of(const PhysicalMemory& memory, const Registers& cpu);

  /// kNotMapped when the tables say no, the memory's own error when a table is not there.
  Result<PhysAddr> translate(VirtAddr at) const;

  /// Why `at` is not mapped: the entry without its present bit that ends the walk, and how many
  /// bytes from `at` on it speaks for. kNotFound when `at` is mapped.
  struct AbsentEntry {
    std::uint64_t value = 0;  // what the operating system keeps there; 0 when nothing ever was
    std::uint64_t size = 0;
    std::uint64_t offset = 0;  // of `at` in what the entry speaks for
  };
  Result<AbsentEntry> absent_entry(VirtAddr at) const;

  /// All mappings of [from, to], in order, runs that continue each other in both spaces and have
  /// the same rights joined. Tables that cannot be read are counted in `unreadable`; after `limit`
  /// mappings it stops and `unreadable` counts one more.
  std::vector<PageMapping> mappings(VirtAddr from, VirtAddr to, std::size_t limit,
                                    std::size_t& unreadable) const;

  /// The pages that the tables themselves occupy for [from, to], the root included; at most 2^20 of
  /// them.
  std::vector<PhysRange> table_pages(VirtAddr from, VirtAddr to) const;

  PhysAddr root() const { return root_; }
  bool five_level() const { return five_level_; }

 private:
  struct Walk;
  void collect(Walk& walk, PhysAddr table, unsigned level, std::uint64_t base, bool writable,
               bool executable) const;
  const PhysicalMemory* memory_;
  PhysAddr root_;
  bool five_level_;
};

}  // namespace hvd
