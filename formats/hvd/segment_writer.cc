#include <cassert>

#include "base/byte_writer.h"
#include "formats/hvd/writer.h"

namespace hvd::format {

SegmentWriter::SegmentWriter(PartitionWriter& partition, std::uint32_t segment)
    : partition_(partition), segment_(segment), states_(kSegmentPages, kStateHole) {}

Result<void> SegmentWriter::store(std::uint32_t page, PageClass page_class, ByteView contents) {
  assert(page < kSegmentPages && contents.size() == kPageBytes && states_[page] == kStateHole);
  if (all_zero(contents)) {
    absent(page, Absence::kZero);
    return {};
  }
  const auto number = static_cast<std::uint16_t>(page);
  Pending& pending = pending_[static_cast<std::size_t>(page_class)];
  // Looked for inside the segment and class only: a page never refers to one under another key, and
  // what is kept of the pages does not grow with the guest.
  if (const auto first =
          pending.repeats.find_or_add(number, contents, pending.pages, pending.contents)) {
    repeats_.push_back({number, *first});
    states_[page] = kStateRepeat;
    return {};
  }
  states_[page] = static_cast<std::uint8_t>(kStateStored + static_cast<unsigned>(page_class));
  pending.pages.push_back(number);
  if (pending.contents.empty()) pending.contents.reserve(kChunkPages * kPageBytes);
  append(pending.contents, contents);
  if (pending.pages.size() == kChunkPages) return flush(page_class);
  return {};
}

void SegmentWriter::absent(std::uint32_t page, Absence reason) {
  assert(page < kSegmentPages && states_[page] == kStateHole);
  states_[page] = static_cast<std::uint8_t>(kStateAbsent + static_cast<unsigned>(reason));
}

Result<void> SegmentWriter::flush(PageClass page_class) {
  Pending& pending = pending_[static_cast<std::size_t>(page_class)];
  MapChunk entry{};
  entry.page_class = static_cast<unsigned char>(page_class);
  entry.page_count = static_cast<std::uint16_t>(pending.pages.size());
  entry.ordinal = static_cast<std::uint32_t>(chunks_.size());
  entry.file_offset = HVD_TRY(partition_.put_chunk(segment_, entry.ordinal, page_class,
                                                   pending.pages, pending.contents, room_));
  chunks_.push_back(entry);
  pending.pages.clear();
  pending.contents.clear();
  return {};
}

Result<void> SegmentWriter::finish() {
  for (std::size_t i = 0; i < kPageClassCount; ++i) {
    if (!pending_[i].pages.empty()) HVD_TRY(flush(static_cast<PageClass>(i)));
  }
  PartitionTotals mine;
  bool any = false;
  for (std::uint8_t state : states_) {
    if (state == kStateHole) continue;
    any = true;
    if (state == kStateRepeat) ++mine.repeat_pages;
    else if (state >= kStateStored) ++mine.stored_pages[state - kStateStored];
    else ++mine.absent_pages[state - kStateAbsent];
  }
  if (!any) return {};

  MapHeader header{};
  header.segment = segment_;
  header.chunk_count = static_cast<std::uint32_t>(chunks_.size());
  header.repeat_count = static_cast<std::uint32_t>(repeats_.size());
  ByteWriter raw;
  raw.put(header);
  for (const MapChunk& chunk : chunks_) raw.put(chunk);
  for (const MapRepeat& repeat : repeats_) raw.put(repeat);
  raw.put(std::as_bytes(std::span(states_)));
  MapIndexEntry entry{};
  entry.segment = segment_;
  entry.file_offset = HVD_TRY(partition_.put_block(RecordType::kMap, segment_, raw.view()));

  std::lock_guard lock(partition_.mutex_);
  partition_.maps_.push_back(entry);
  ++partition_.totals_.segments;
  partition_.totals_.chunks += chunks_.size();
  partition_.totals_.repeat_pages += mine.repeat_pages;
  for (std::size_t i = 0; i < kPageClassCount; ++i)
    partition_.totals_.stored_pages[i] += mine.stored_pages[i];
  for (std::size_t i = 0; i < kAbsenceCount; ++i)
    partition_.totals_.absent_pages[i] += mine.absent_pages[i];
  return {};
}

}  // namespace hvd::format
