// DumpWriter: writes an .hvd, partition by partition, front to back.
//
// Partitions may be open side by side, and a partition's segments may be written from several
// threads; memory in use is a few chunk buffers per segment being written, whatever the size of the
// dump.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/envelope.h"
#include "base/image.h"
#include "formats/hvd/packing.h"
#include "formats/hvd/record_writer.h"
#include "formats/hvd/repeats.h"

namespace hvd::format {

class PartitionWriter;

struct DumpInfo {
  DumpId id{};
  std::uint64_t created_ns = 0;
  std::string agent_json = "{}";  // an object: what wrote the dump, on which host
};

/// A random id, and now as the creation time.
Result<DumpInfo> new_dump_info(std::string agent_json);

struct PartitionInfo {
  std::string name;
  Role role = Role::kGuest;
  Codec codec = Codec::kZstd;
};

class DumpWriter {
 public:
  static Result<std::unique_ptr<DumpWriter>> create(std::unique_ptr<ByteSink> sink,
                                                    const DumpInfo& info, const SigningKey& key);

  /// Opens a partition. `sealer` null: in the clear. The key slots are written first, so that a
  /// torn dump opens. The partition must not outlive the DumpWriter.
  Result<std::unique_ptr<PartitionWriter>> begin_partition(const PartitionInfo& info,
                                                           std::shared_ptr<const Sealer> sealer,
                                                           const std::vector<KeySlot>& slots);

  /// The number the next partition gets: key slots are bound to it.
  std::uint32_t next_partition() const { return next_partition_; }
  const DumpId& id() const { return records_->dump_id(); }
  std::uint64_t bytes_written() const { return records_->bytes_written(); }

  /// Index and footer; every partition must have ended.
  Result<void> finish() { return records_->finish(); }

 private:
  explicit DumpWriter(std::unique_ptr<RecordWriter> records) : records_(std::move(records)) {}
  std::unique_ptr<RecordWriter> records_;
  std::uint32_t next_partition_ = 0;
};

/// Buffers that serve one chunk after the other.
struct ChunkRoom {
  Bytes compressed;
  Bytes payload;
};

/// Collects the pages of one segment and writes each class's chunk as soon as it is full, then the
/// map.
class SegmentWriter {
 public:
  /// Pages must be given in increasing order. `page` is the number within the segment; `contents`
  /// 4096 bytes. A page of zeros becomes absent with reason zero; a later copy of a page in this
  /// segment and class becomes a repeat (repeats.h).
  Result<void> store(std::uint32_t page, PageClass page_class, ByteView contents);
  void absent(std::uint32_t page, Absence reason);

  /// Flushes the chunks and writes the map. Nothing is written for a segment of holes only.
  Result<void> finish();

 private:
  friend class PartitionWriter;
  SegmentWriter(PartitionWriter& partition, std::uint32_t segment);
  struct Pending {
    std::vector<std::uint16_t> pages;
    Bytes contents;
    Repeats repeats;  // of the whole segment
  };
  Result<void> flush(PageClass page_class);

  PartitionWriter& partition_;
  std::uint32_t segment_;
  std::array<Pending, kPageClassCount> pending_;
  ChunkRoom room_;
  std::vector<std::uint8_t> states_;
  std::vector<MapChunk> chunks_;
  std::vector<MapRepeat> repeats_;
};

/// What a partition turned out to hold; the reader shows it, and a truncated partition cannot match
/// it.
struct PartitionTotals {
  std::uint64_t segments = 0;
  std::uint64_t chunks = 0;
  std::array<std::uint64_t, kPageClassCount> stored_pages{};
  std::array<std::uint64_t, kAbsenceCount> absent_pages{};
  std::uint64_t repeat_pages = 0;
};

class PartitionWriter {
 public:
  /// Once, before the segments (SPEC.md, "FACTS").
  Result<void> facts(const Facts& facts);
  Result<void> note(const Note& note);
  Result<void> registers(const Registers& registers);

  /// Each segment at most once; the writer refuses a second time, since its nonces would repeat.
  Result<SegmentWriter> segment(std::uint32_t number);

  /// Writes the map index and the totals. `problems` are sentences for the reader. No call may
  /// follow.
  Result<void> end(PartitionState state, const std::string& reason,
                   const std::vector<std::string>& problems);

  std::uint32_t number() const { return partition_; }
  bool sealed() const { return sealer_ != nullptr; }

 private:
  friend class DumpWriter;
  friend class SegmentWriter;
  PartitionWriter(RecordWriter& records, PartitionInfo info, std::uint32_t partition,
                  std::shared_ptr<const Sealer> sealer)
      : records_(records),
        info_(std::move(info)),
        partition_(partition),
        sealer_(std::move(sealer)) {}

  /// Appends a record of this partition and counts what it takes in the file.
  Result<std::uint64_t> put_record(RecordType type, std::uint16_t flags, std::uint64_t sequence,
                                   ByteView payload);
  /// Packs, seals when the partition is sealed, appends.
  Result<std::uint64_t> put_block(RecordType type, std::uint64_t sequence, ByteView raw,
                                  std::uint16_t flags = 0);
  Result<std::uint64_t> put_chunk(std::uint32_t segment, std::uint32_t ordinal,
                                  PageClass page_class, const std::vector<std::uint16_t>& pages,
                                  ByteView contents, ChunkRoom& room);

  RecordWriter& records_;
  const PartitionInfo info_;
  const std::uint32_t partition_;
  const std::shared_ptr<const Sealer> sealer_;
  std::mutex mutex_;
  std::vector<std::uint32_t> begun_;  // sorted
  std::vector<MapIndexEntry> maps_;
  PartitionTotals totals_;
  std::atomic<std::uint64_t> file_bytes_{0};
  std::uint64_t notes_ = 0;
  std::uint64_t register_sets_ = 0;
};

}  // namespace hvd::format
