// ProcessMemory: where the bytes of a process's memory are, by its page tables and, for what these
// do not map, by the kernel's page cache.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "guest/kvm_host/vm_areas.h"
#include "guest/linux/page_structs.h"

namespace hvd::linux_guest {

/// A run of addresses whose bytes are alike.
struct ProcessRun {
  enum class Kind {
    kInMemory,    // at `phys`
    kZero,        // never written to: reads as zero
    kSwappedOut,  // not in memory
    kRestricted,  // must not be read: the hardware failed there, or the page is offline
    kNowhere,     // no memory area, or a file's pages that nobody has read
  };
  VirtAddr begin;
  std::uint64_t size = 0;  // bytes
  Kind kind = Kind::kNowhere;
  PhysAddr phys;  // kInMemory
};

class ProcessMemory {
 public:
  /// `memory` and `kernel` must outlive the object. `areas` by address; without them nothing is
  /// known of what `tables` do not map, and that counts as kNowhere. So do pages of files that are
  /// in the page cache only when `kernel` is null.
  ProcessMemory(const PhysicalMemory& memory, PageTables tables, std::vector<VmArea> areas,
                const Kernel* kernel);

  /// The runs of [from, from + size), in order and without gaps. Their number, and the memory it
  /// takes, is bounded by the number of pages. Safe to call from several threads.
  std::vector<ProcessRun> runs(VirtAddr from, std::uint64_t size) const;

  const std::vector<VmArea>& areas() const { return areas_; }
  const PageTables& tables() const { return tables_; }
  const PhysicalMemory& physical() const { return memory_; }

 private:
  struct Runs;
  void in_memory(const PageMapping& mapped, Runs& out) const;
  void unmapped(VirtAddr from, std::uint64_t size, Runs& out) const;
  void absent(const VmArea& area, VirtAddr from, std::uint64_t size, Runs& out) const;
  Result<void> cached(const VmArea& area, VirtAddr from, std::uint64_t size, Runs& out) const;
  Result<void> huge(const VmArea& area, VirtAddr from, std::uint64_t size, Runs& out) const;

  const PhysicalMemory& memory_;
  const PageTables tables_;
  const std::vector<VmArea> areas_;
  const Kernel* const kernel_;
  std::optional<PageStructs> pages_;  // for the page cache
  mutable std::mutex mutex_;          // the kernel's memory is for one thread at a time
};

}  // namespace hvd::linux_guest
