// VirtualMemory: memory as a CPU with given page tables sees it.
#pragma once

#include <unordered_map>

#include "guest/address_space.h"
#include "guest/x86_64/paging.h"

namespace hvd {

class VirtualMemory final : public AddressSpace {
 public:
  /// `memory` must outlive the object. Not safe to use from several threads: translations are
  /// remembered.
  VirtualMemory(const PhysicalMemory& memory, PageTables tables)
      : memory_(&memory), tables_(tables) {}

  using AddressSpace::read;
  Result<void> read(VirtAddr at, MutableBytes out) const override;
  const PageTables* page_tables() const override { return &tables_; }

  const PageTables& tables() const { return tables_; }
  const PhysicalMemory& physical() const { return *memory_; }

 private:
  Result<PhysAddr> translate(VirtAddr at) const;
  const PhysicalMemory* memory_;
  PageTables tables_;
  mutable std::unordered_map<std::uint64_t, std::uint64_t> known_;  // page by page
};

}  // namespace hvd
