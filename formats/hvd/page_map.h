// PageMap: the state of each page of one segment, and where its contents are (SPEC.md, "MAP").
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/partition.h"
#include "base/result.h"
#include "formats/hvd/record_reader.h"

namespace hvd::format {

struct PageLocation {
  std::uint32_t chunk = 0;  // index into chunks()
  std::uint32_t slot = 0;   // page within the chunk
  std::uint16_t page = 0;   // the page that the chunk must hold there: of a repeat, its source
};

class PageMap {
 public:
  static Result<PageMap> parse(ByteView raw, std::uint32_t segment);

  /// For salvage: a map that knows only the chunks that were found. Every other page is unknown.
  static PageMap from_chunks(std::uint32_t segment,
                             const std::vector<std::pair<MapChunk, ChunkContents>>& chunks);

  std::uint32_t segment() const { return segment_; }
  /// kStateHole, kStateRepeat (already followed: never returned), kStateAbsent + reason, or
  /// kStateStored + class.
  std::uint8_t state(std::uint32_t page) const { return states_[page]; }
  /// False for a salvaged map: pages that are not stored may be zero, absent or lost.
  bool complete() const { return complete_; }
  /// Requires state(page) >= kStateStored.
  PageLocation location(std::uint32_t page) const { return locations_[page]; }
  const std::vector<MapChunk>& chunks() const { return chunks_; }

 private:
  std::uint32_t segment_ = 0;
  bool complete_ = true;
  std::vector<std::uint8_t> states_;
  std::vector<MapChunk> chunks_;
  std::vector<PageLocation> locations_;
};

}  // namespace hvd::format
