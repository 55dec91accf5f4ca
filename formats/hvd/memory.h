// HvdMemory: the memory of one partition of an .hvd as PhysicalMemory.
#pragma once

#include <memory>
#include <unordered_map>

#include "base/lru_cache.h"
#include "base/physical_memory.h"
#include "formats/hvd/page_map.h"
#include "formats/hvd/record_reader.h"

namespace hvd::format {

/// Where a segment's pages are: its map record or, when that was lost, the chunks that a scan
/// found.
struct SegmentPlace {
  std::uint64_t map_offset = 0;  // 0 when the map was lost
  /// After a scan: where each chunk was found, by ordinal. Bytes lost before it make the map's own
  /// offsets wrong.
  std::unordered_map<std::uint32_t, std::uint64_t> chunk_offsets;
  std::vector<std::pair<MapChunk, ChunkContents>> salvaged;
};
using SegmentTable = std::unordered_map<std::uint32_t, SegmentPlace>;

class HvdMemory final : public PhysicalMemory {
 public:
  /// `opener` is null for a partition in the clear. `exact`: the ranges bound what was captured to
  /// the byte (a process partition); else the maps alone say what is there. `torn`: a segment that
  /// the table does not name is lost instead of a hole.
  HvdMemory(RecordReader reader, std::shared_ptr<const Opener> opener, std::uint32_t partition,
            SegmentTable segments, std::vector<PhysRange> ranges, bool exact, bool torn);

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  Result<std::shared_ptr<const PageMap>> map_of(std::uint32_t segment) const;
  struct OpenChunk {
    std::vector<std::uint16_t> pages;
    Bytes contents;
  };
  Result<std::shared_ptr<const OpenChunk>> chunk(const PageMap& map, std::uint32_t index) const;
  /// How far from `at` the ranges say the same: inside one, or outside all.
  std::uint64_t bound_by_ranges(PhysAddr at, bool& inside) const;
  Extent condition_of(const PageMap* map, std::uint32_t page) const;

  const RecordReader reader_;
  const std::shared_ptr<const Opener> opener_;
  const std::uint32_t partition_;
  const SegmentTable segments_;
  const std::vector<std::uint32_t> known_;  // their numbers, sorted
  const std::vector<PhysRange> ranges_;
  const bool exact_;
  const bool torn_;
  mutable LruCache<std::uint32_t, PageMap> maps_;
  mutable LruCache<std::uint64_t, OpenChunk> chunks_;  // by file offset
};

}  // namespace hvd::format
