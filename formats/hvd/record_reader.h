// Reading single records: framing, check, sealing. Offsets come from untrusted places, so each
// record proves what it is.
#pragma once

#include <memory>
#include <optional>

#include "base/byte_source.h"
#include "base/envelope.h"
#include "formats/hvd/binding.h"
#include "formats/hvd/integrity.h"
#include "formats/hvd/layout.h"

namespace hvd::format {

struct Record {
  std::uint64_t file_offset = 0;
  RecordHeader header{};
  Bytes payload;

  RecordType type() const { return static_cast<RecordType>(std::uint16_t{header.type}); }
  bool sealed() const { return (header.flags & kFlagSealed) != 0; }
  std::uint64_t end() const;  // file offset behind the padding
};

/// Where a record is expected and what it must say of itself.
struct RecordPlace {
  std::uint64_t file_offset = 0;
  RecordType type = RecordType::kDump;
  std::uint32_t partition = kNoPartition;
  std::uint64_t sequence = 0;
};

class RecordReader {
 public:
  /// kUnsupported for a newer major version, kCorrupt when it is not an .hvd at all.
  static Result<RecordReader> open(std::shared_ptr<const ByteSource> source);

  const DumpId& dump_id() const { return dump_; }
  const FileHeader& file_header() const { return header_; }
  /// What seals are bound to.
  const Hash& file_hash() const { return file_hash_; }
  const ByteSource& source() const { return *source_; }

  /// The record at `file_offset`, framing and check proved; kCorrupt otherwise.
  Result<Record> read(std::uint64_t file_offset) const;
  /// The same without proving the check of a sealed record, whose own seal proves more.
  Result<Record> read_expected(const RecordPlace& place) const;

  /// The packed block of a metadata record, opened and unpacked. `opener` is null exactly for
  /// partitions in the clear; a record that is sealed there, or is not in a sealed one, is
  /// kCorrupt.
  Result<Bytes> block(const Record& record, const Opener* opener) const;

 private:
  RecordReader(std::shared_ptr<const ByteSource> source, const FileHeader& header)
      : source_(std::move(source)),
        header_(header),
        dump_(dump_id_of(header)),
        file_hash_(file_header_hash(header)) {}
  Result<Record> read_framed(std::uint64_t file_offset) const;
  Result<void> prove_check(const Record& record) const;

  std::shared_ptr<const ByteSource> source_;
  FileHeader header_;
  DumpId dump_;
  Hash file_hash_;
};

/// A chunk's descriptor, checked: segment, class, pages in order.
struct ChunkContents {
  std::uint32_t segment = 0;
  PageClass page_class = PageClass::kUnclassified;
  std::uint8_t codec = 0;
  std::vector<std::uint16_t> pages;
};

/// Reads a chunk's descriptor; needs the map key of a sealed partition.
Result<ChunkContents> chunk_descriptor(const RecordReader& reader, const Record& record,
                                       const Opener* opener);
/// Reads a chunk's pages, 4096 bytes each in the descriptor's order; needs the class key of a
/// sealed partition.
Result<Bytes> chunk_pages(const RecordReader& reader, const Record& record,
                          const ChunkContents& contents, const Opener* opener);

}  // namespace hvd::format
