// The three ways in which Windows dumps hold memory, as PhysicalMemory.
#pragma once

#include <memory>
#include <vector>

#include "base/byte_source.h"
#include "base/physical_memory.h"

namespace hvd::windows {

/// Bytes of memory that lie together in the file.
struct StoredRun {
  PhysRange memory;
  std::uint64_t offset = 0;  // in the file
};

/// Runs of pages (full, RDMP), or of bytes at any addresses (triage, where these are virtual).
class RunMemory final : public PhysicalMemory {
 public:
  /// Runs in any order; where they overlap the earlier one in `runs` counts. Those that the file is
  /// too short for end with it.
  RunMemory(std::shared_ptr<const ByteSource> source, const std::vector<StoredRun>& runs);
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const StoredRun* find(PhysAddr at) const;
  const std::shared_ptr<const ByteSource> source_;
  std::vector<StoredRun> runs_;  // by address, not overlapping
  std::vector<PhysRange> ranges_;
};

/// A bit for each page, and the pages whose bit is set.
class BitmapMemory final : public PhysicalMemory {
 public:
  /// `bitmap`: bit n is page n. `ranges`: what of the address space is memory. A page whose place
  /// in the file is beyond its end is lost.
  BitmapMemory(std::shared_ptr<const ByteSource> source, Bytes bitmap, std::uint64_t pages,
               std::uint64_t first_offset, std::vector<PhysRange> ranges);
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;
  std::uint64_t present_pages() const { return present_; }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  bool has(std::uint64_t page) const;
  /// How many pages from `page` on have the same bit.
  std::uint64_t alike(std::uint64_t page, std::uint64_t limit) const;
  std::uint64_t place_of(std::uint64_t page) const;  // how many present pages come before it

  const std::shared_ptr<const ByteSource> source_;
  const Bytes bitmap_;
  const std::uint64_t pages_, first_offset_;
  const std::vector<PhysRange> ranges_;
  std::vector<std::uint64_t> counts_;  // of present pages before each block of bits
  std::uint64_t present_ = 0;
};

}  // namespace hvd::windows
