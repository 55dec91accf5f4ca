#include "formats/hvd/memory.h"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "base/text.h"

namespace hvd::format {
namespace {

constexpr std::size_t kCachedMaps = 64;     // 10 MiB
constexpr std::size_t kCachedChunks = 256;  // 64 MiB at our writer's chunk size

constexpr std::uint64_t kEndOfAddresses = std::uint64_t{1}
                                          << 58;  // SPEC.md, "Limits": segments are 32-bit numbers

std::string page_text(PhysAddr at) { return "address " + hex(at.value); }

std::vector<std::uint32_t> sorted_numbers(const SegmentTable& segments) {
  std::vector<std::uint32_t> out;
  for (const auto& [number, place] : segments) out.push_back(number);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

HvdMemory::HvdMemory(RecordReader reader, std::shared_ptr<const Opener> opener,
                     std::uint32_t partition, SegmentTable segments, std::vector<PhysRange> ranges,
                     bool exact, bool torn)
    : reader_(std::move(reader)),
      opener_(std::move(opener)),
      partition_(partition),
      segments_(std::move(segments)),
      known_(sorted_numbers(segments_)),
      ranges_(std::move(ranges)),
      exact_(exact),
      torn_(torn),
      maps_(kCachedMaps),
      chunks_(kCachedChunks) {}

Result<std::shared_ptr<const PageMap>> HvdMemory::map_of(std::uint32_t segment) const {
  if (auto cached = maps_.find(segment)) return cached;
  const auto place = segments_.find(segment);
  if (place == segments_.end()) return std::shared_ptr<const PageMap>();
  if (place->second.map_offset == 0)
    return maps_.insert(segment, PageMap::from_chunks(segment, place->second.salvaged));
  const Record record = HVD_TRY(
      reader_.read_expected({place->second.map_offset, RecordType::kMap, partition_, segment}));
  const Bytes raw = HVD_TRY(reader_.block(record, opener_.get()));
  PageMap map = HVD_TRY(PageMap::parse(raw, segment));
  return maps_.insert(segment, std::move(map));
}

Result<std::shared_ptr<const HvdMemory::OpenChunk>> HvdMemory::chunk(const PageMap& map,
                                                                     std::uint32_t index) const {
  const MapChunk& entry = map.chunks()[index];
  if (auto cached = chunks_.find(entry.file_offset)) return cached;
  const std::uint64_t sequence = std::uint64_t{map.segment()} << 16 | entry.ordinal;
  const SegmentPlace& place = segments_.at(map.segment());
  const auto scanned = place.chunk_offsets.find(entry.ordinal);
  const std::uint64_t at =
      scanned == place.chunk_offsets.end() ? std::uint64_t{entry.file_offset} : scanned->second;
  const Record record =
      HVD_TRY(reader_.read_expected({at, RecordType::kChunk, partition_, sequence}));
  ChunkContents contents = HVD_TRY(chunk_descriptor(reader_, record, opener_.get()));
  if (contents.pages.size() != entry.page_count ||
      static_cast<unsigned>(contents.page_class) != entry.page_class) {
    return Error{ErrorCode::kCorrupt, "the chunk at byte " +
                                          std::to_string(std::uint64_t{entry.file_offset}) +
                                          " does not fit the page map"};
  }
  Bytes pages = HVD_TRY(chunk_pages(reader_, record, contents, opener_.get()));
  return chunks_.insert(entry.file_offset, OpenChunk{std::move(contents.pages), std::move(pages)});
}

Extent HvdMemory::condition_of(const PageMap* map, std::uint32_t page) const {
  Extent extent;
  if (!map) {
    extent.kind = torn_ ? Extent::Kind::kUnknown : Extent::Kind::kHole;
    return extent;
  }
  const std::uint8_t state = map->state(page);
  if (state >= kStateStored) {
    extent.page_class = static_cast<PageClass>(state - kStateStored);
    const bool open = !opener_ || opener_->has(KeyName::of(extent.page_class));
    extent.kind = open ? Extent::Kind::kStored : Extent::Kind::kSealed;
  } else if (state == kStateHole) {
    extent.kind = map->complete() ? Extent::Kind::kHole : Extent::Kind::kUnknown;
  } else {
    extent.reason = static_cast<Absence>(state - kStateAbsent);
    extent.kind = extent.reason == Absence::kZero ? Extent::Kind::kZero : Extent::Kind::kAbsent;
  }
  return extent;
}

std::uint64_t HvdMemory::bound_by_ranges(PhysAddr at, bool& inside) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                      [](PhysAddr a, const PhysRange& r) { return a < r.begin; });
  inside = after != ranges_.begin() && std::prev(after)->contains(at);
  if (inside) return std::prev(after)->begin.value + std::prev(after)->size - at.value;
  return after == ranges_.end() ? ~at.value : after->begin.value - at.value;
}

Extent HvdMemory::extent_at(PhysAddr at) const {
  Extent extent;
  bool inside = false;
  const std::uint64_t in_range = bound_by_ranges(at, inside);
  if (at.value >= kEndOfAddresses || (exact_ && !inside)) {
    extent.range = {at, in_range};
    return extent;
  }
  const auto segment = static_cast<std::uint32_t>(at.value / kSegmentBytes);
  const std::uint64_t offset = at.value % kSegmentBytes;
  const auto map = map_of(segment);
  if (!map) {
    extent.kind =
        map.error().code == ErrorCode::kSealed ? Extent::Kind::kSealed : Extent::Kind::kUnknown;
    extent.range = {at, std::min(in_range, kSegmentBytes - offset)};
    return extent;
  }
  auto page = static_cast<std::uint32_t>(offset / kPageBytes);
  extent = condition_of(map->get(), page);
  if (!*map) {
    // The same is true up to the next segment that has a map: a range may claim far more than was
    // ever written.
    const auto next = std::upper_bound(known_.begin(), known_.end(), segment);
    const std::uint64_t end = next == known_.end() ? kEndOfAddresses : *next * kSegmentBytes;
    extent.range = {at, std::min(in_range, end - at.value)};
    return extent;
  }
  const std::uint8_t state = (*map)->state(page);
  while (page < kSegmentPages && (*map)->state(page) == state) ++page;
  extent.range = {at, std::min(in_range, page * kPageBytes - offset)};
  return extent;
}

Result<std::size_t> HvdMemory::read_some(PhysAddr at, MutableBytes out) const {
  bool inside = false;
  const std::uint64_t in_range = bound_by_ranges(at, inside);
  if (at.value >= kEndOfAddresses || (exact_ && !inside)) {
    return Error{ErrorCode::kNotCaptured, page_text(at) + " is not memory of this partition"};
  }
  const std::uint64_t in_page = at.value % kPageBytes;
  const auto size = static_cast<std::size_t>(
      std::min<std::uint64_t>({out.size(), kPageBytes - in_page, exact_ ? in_range : kPageBytes}));
  const auto segment = static_cast<std::uint32_t>(at.value / kSegmentBytes);
  const auto map = HVD_TRY(with_context(map_of(segment), page_text(at)));
  const auto page = static_cast<std::uint32_t>(at.value % kSegmentBytes / kPageBytes);
  const Extent condition = condition_of(map.get(), page);
  switch (condition.kind) {
    case Extent::Kind::kZero: std::memset(out.data(), 0, size); return size;
    case Extent::Kind::kAbsent:
      return Error{
          condition.reason == Absence::kUnreadable ? ErrorCode::kUnreadable
                                                   : ErrorCode::kNotCaptured,
          page_text(at) + " is not in the dump: " + std::string(name_of(condition.reason))};
    case Extent::Kind::kSealed:
      return Error{ErrorCode::kSealed, page_text(at) + " is sealed and no key for class " +
                                           std::string(name_of(condition.page_class)) +
                                           " was given"};
    case Extent::Kind::kUnknown:
      return Error{ErrorCode::kCorrupt,
                   page_text(at) + " was lost: the dump is torn or damaged there"};
    case Extent::Kind::kHole:
      return Error{ErrorCode::kNotCaptured, page_text(at) + " is not memory of this partition"};
    case Extent::Kind::kStored: break;
  }
  const PageLocation location = map->location(page);
  const auto open = HVD_TRY(with_context(chunk(*map, location.chunk), page_text(at)));
  if (open->pages[location.slot] != location.page) {
    return Error{ErrorCode::kCorrupt,
                 page_text(at) + ": the page map and the chunk disagree about what is where"};
  }
  std::memcpy(out.data(), open->contents.data() + location.slot * kPageBytes + in_page, size);
  return size;
}

}  // namespace hvd::format
