#include "formats/hvd/page_map.h"

#include <array>

#include "base/byte_reader.h"

namespace hvd::format {
namespace {

bool is_stored(std::uint8_t state) {
  return state >= kStateStored && state < kStateStored + kPageClassCount;
}
bool is_known(std::uint8_t state) {
  return state == kStateHole || state == kStateRepeat || is_stored(state) ||
         (state >= kStateAbsent && state < kStateAbsent + kAbsenceCount);
}

}  // namespace

Result<PageMap> PageMap::parse(ByteView raw, std::uint32_t segment) {
  PageMap map;
  map.segment_ = segment;
  ByteReader in(raw, "page map of segment " + std::to_string(segment));
  const auto header = in.read<MapHeader>();
  if (header.segment != segment) in.fail("belongs to segment " + std::to_string(header.segment));
  const std::size_t chunk_count = in.count<MapChunk>(header.chunk_count);
  for (std::size_t i = 0; i < chunk_count; ++i) {
    const auto chunk = in.read<MapChunk>();
    if (chunk.page_class >= kPageClassCount || chunk.page_count == 0 ||
        chunk.page_count > kMaxChunkPages || chunk.ordinal > 0xffff) {
      in.fail("has a chunk entry out of range");
      break;
    }
    map.chunks_.push_back(chunk);
  }
  std::vector<MapRepeat> repeats;
  const std::size_t repeat_count = in.count<MapRepeat>(header.repeat_count);
  for (std::size_t i = 0; i < repeat_count; ++i) repeats.push_back(in.read<MapRepeat>());
  const ByteView states = in.bytes(kSegmentPages);
  HVD_TRY(in.finish_exact());
  map.states_.assign(u8(states), u8(states) + states.size());
  map.locations_.resize(kSegmentPages);

  // The n-th stored page of a class is the n-th page over that class's chunks, in order.
  struct Cursor {
    std::size_t chunk = 0;
    std::uint32_t slot = 0;
  };
  std::array<Cursor, kPageClassCount> cursors{};
  const Error mismatch{ErrorCode::kCorrupt, "page map of segment " + std::to_string(segment) +
                                                ": its states and its chunks do not agree"};
  for (std::uint32_t page = 0; page < kSegmentPages; ++page) {
    const std::uint8_t state = map.states_[page];
    if (!is_known(state)) {
      return Error{ErrorCode::kUnsupported, "page map of segment " + std::to_string(segment) +
                                                ": page state " + std::to_string(state) +
                                                " is unknown"};
    }
    if (!is_stored(state)) continue;
    Cursor& cursor = cursors[state - kStateStored];
    const auto page_class = static_cast<unsigned char>(state - kStateStored);
    while (cursor.chunk < map.chunks_.size() &&
           (map.chunks_[cursor.chunk].page_class != page_class ||
            cursor.slot == map.chunks_[cursor.chunk].page_count)) {
      ++cursor.chunk;
      cursor.slot = 0;
    }
    if (cursor.chunk == map.chunks_.size()) return mismatch;
    map.locations_[page] = {static_cast<std::uint32_t>(cursor.chunk), cursor.slot++,
                            static_cast<std::uint16_t>(page)};
  }
  // And no chunk may hold pages that no state accounts for.
  std::array<std::uint64_t, kPageClassCount> in_chunks{}, in_states{};
  for (const MapChunk& chunk : map.chunks_) in_chunks[chunk.page_class] += chunk.page_count;
  for (std::uint8_t state : map.states_) {
    if (is_stored(state)) ++in_states[state - kStateStored];
  }
  if (in_chunks != in_states) return mismatch;
  std::vector<bool> repeated(kSegmentPages);
  for (const MapRepeat& repeat : repeats) {
    if (repeat.page >= kSegmentPages || repeat.source >= kSegmentPages ||
        map.states_[repeat.page] != kStateRepeat || !is_stored(map.states_[repeat.source]) ||
        repeated[repeat.page]) {
      return mismatch;
    }
    repeated[repeat.page] = true;
    map.locations_[repeat.page] = map.locations_[repeat.source];
  }
  // Followed only now, so that a repeat of a repeat stays an error.
  for (const MapRepeat& repeat : repeats) {
    if (map.states_[repeat.page] == kStateRepeat)
      map.states_[repeat.page] = map.states_[repeat.source];
  }
  for (std::uint8_t state : map.states_) {
    if (state == kStateRepeat) return mismatch;
  }
  return map;
}

PageMap PageMap::from_chunks(std::uint32_t segment,
                             const std::vector<std::pair<MapChunk, ChunkContents>>& chunks) {
  PageMap map;
  map.segment_ = segment;
  map.complete_ = false;
  map.states_.assign(kSegmentPages, kStateHole);
  map.locations_.resize(kSegmentPages);
  for (const auto& [entry, contents] : chunks) {
    for (std::size_t slot = 0; slot < contents.pages.size(); ++slot) {
      const std::uint16_t page = contents.pages[slot];
      map.states_[page] =
          static_cast<std::uint8_t>(kStateStored + static_cast<unsigned>(contents.page_class));
      map.locations_[page] = {static_cast<std::uint32_t>(map.chunks_.size()),
                              static_cast<std::uint32_t>(slot), page};
    }
    map.chunks_.push_back(entry);
  }
  return map;
}

}  // namespace hvd::format
