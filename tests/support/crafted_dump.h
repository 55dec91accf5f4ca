// CraftedDump: an .hvd record by record, each with a good check, whatever it says. For hostile
// cases that no writer would write. Footer and checkpoints are signed: a liar has a key too.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/byte_writer.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/packing.h"
#include "formats/hvd/record_writer.h"
#include "tests/support/dump_builder.h"

namespace hvd {

class CraftedDump {
 public:
  using Type = format::RecordType;
  static constexpr std::uint16_t kCritical = format::kFlagCritical;
  static constexpr DumpId kId{7};

  CraftedDump() : bytes_(std::make_shared<Bytes>()) {
    writer_ =
        format::RecordWriter::start(std::make_unique<SharedSink>(bytes_), kId, 0, key_).value();
    record(Type::kDump, format::kNoPartition, 0, as_bytes("{}"));
  }

  std::uint64_t record(Type type, std::uint32_t partition, std::uint64_t sequence, ByteView payload,
                       std::uint16_t flags = kCritical) {
    const std::uint64_t at = writer_->append(type, flags, partition, sequence, payload).value();
    entries_.push_back({at, type, partition, sequence});
    return at;
  }
  std::uint64_t block(Type type, std::uint32_t partition, std::uint64_t sequence, ByteView raw) {
    return record(type, partition, sequence, format::pack(raw));
  }

  CraftedDump& begin(
      std::uint32_t partition = 0,
      const std::string& json = R"({"name":"guest","role":"guest","sealed":false})") {
    record(Type::kPartition, partition, 0, as_bytes(json));
    return *this;
  }
  CraftedDump& facts(const std::string& json, std::uint32_t partition = 0) {
    block(Type::kFacts, partition, 0, as_bytes(json));
    return *this;
  }
  CraftedDump& end(std::uint32_t partition = 0,
                   const std::string& json = R"({"state":"captured","reason":""})") {
    record(Type::kPartitionEnd, partition, 0, as_bytes(json));
    return *this;
  }
  /// A chunk of whole pages in the clear; returns its offset.
  std::uint64_t chunk(std::uint32_t segment, std::uint32_t ordinal, PageClass page_class,
                      const std::vector<std::uint16_t>& pages, ByteView contents) {
    format::ChunkDescriptor descriptor{};
    descriptor.segment = segment;
    descriptor.page_class = static_cast<unsigned char>(page_class);
    descriptor.page_count = static_cast<std::uint16_t>(pages.size());
    ByteWriter raw;
    raw.u32(static_cast<std::uint32_t>(sizeof descriptor + 2 * pages.size()))
        .u32(0)
        .put(descriptor);
    for (std::uint16_t page : pages) raw.u16(page);
    raw.put(contents);
    return record(Type::kChunk, 0, std::uint64_t{segment} << 16 | ordinal, raw.view());
  }
  /// The map of a segment; every page not in `states` is a hole.
  std::uint64_t map(std::uint32_t segment, const std::vector<format::MapChunk>& chunks,
                    const std::map<std::uint32_t, std::uint8_t>& states,
                    const std::vector<format::MapRepeat>& repeats = {}) {
    format::MapHeader header{};
    header.segment = segment;
    header.chunk_count = static_cast<std::uint32_t>(chunks.size());
    header.repeat_count = static_cast<std::uint32_t>(repeats.size());
    ByteWriter raw;
    raw.put(header);
    for (const auto& entry : chunks) raw.put(entry);
    for (const auto& entry : repeats) raw.put(entry);
    Bytes all(format::kSegmentPages);
    for (const auto& [page, state] : states) all[page] = static_cast<std::byte>(state);
    raw.put(ByteView(all));
    return block(Type::kMap, 0, segment, raw.view());
  }
  CraftedDump& map_index(const std::map<std::uint32_t, std::uint64_t>& offsets) {
    ByteWriter raw;
    for (const auto& [segment, offset] : offsets) raw.u32(segment).u32(0).u64(offset);
    block(Type::kMapIndex, 0, 0, raw.view());
    return *this;
  }

  /// An index that names `entries` instead of the truth (a record of `entries()` may be repeated,
  /// or missing).
  struct Entry {
    std::uint64_t file_offset;
    Type type;
    std::uint32_t partition;
    std::uint64_t sequence;
  };
  std::vector<Entry>& entries() { return entries_; }

  Bytes build() {
    ByteWriter index;
    const std::uint64_t index_at = writer_->bytes_written();
    std::uint32_t count = 0;
    ByteWriter body;
    for (const Entry& e : entries_) {
      if (e.type == Type::kChunk || e.type == Type::kMap) continue;
      format::IndexEntry entry{};
      entry.type = static_cast<std::uint16_t>(e.type);
      entry.partition = e.partition;
      entry.sequence = e.sequence;
      entry.file_offset = e.file_offset;
      body.put(entry);
      ++count;
    }
    index.u32(count).u32(0).put(body.view());
    EXPECT_TRUE(writer_->append(Type::kIndex, kCritical, format::kNoPartition, 0, index.view()));
    format::Footer footer{};
    footer.index_offset = index_at;
    footer.checkpoint_offset = writer_->bytes_written();
    EXPECT_TRUE(writer_->checkpoint());
    footer.file_size = writer_->bytes_written() + format::kFooterRecordBytes;
    const ByteView unsigned_part = bytes_of(footer).first(sizeof footer - sizeof footer.signature);
    const auto signature =
        key_.sign(format::kFooterPurpose, kId, format::keyed_hash(kId, unsigned_part));
    std::memcpy(footer.signature, signature.data(), signature.size());
    EXPECT_TRUE(
        writer_->append(Type::kFooter, kCritical, format::kNoPartition, 0, bytes_of(footer)));
    return *bytes_;
  }

  Result<format::Dump> open() {
    return format::Dump::open(std::make_shared<BufferSource>(build()));
  }

 private:
  const format::SigningKey key_ =
      format::SigningKey::generate().value();  // whoever lies signs his lies
  std::shared_ptr<Bytes> bytes_;
  std::unique_ptr<format::RecordWriter> writer_;
  std::vector<Entry> entries_;
};

}  // namespace hvd
