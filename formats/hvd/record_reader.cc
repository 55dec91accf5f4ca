#include "formats/hvd/record_reader.h"

#include <cstring>

#include "base/byte_reader.h"
#include "formats/hvd/packing.h"

namespace hvd::format {
namespace {

std::string describe(const Record& record) {
  return "record at byte " + std::to_string(record.file_offset) + " (type " +
         std::to_string(record.header.type) + ")";
}

}  // namespace

std::uint64_t Record::end() const { return file_offset + record_bytes(payload.size()); }

Result<RecordReader> RecordReader::open(std::shared_ptr<const ByteSource> source) {
  FileHeader header{};
  if (source->size() < sizeof header)
    return Error{ErrorCode::kCorrupt, "not an .hvd dump: it is too short"};
  HVD_TRY(source->read(0, MutableBytes(reinterpret_cast<std::byte*>(&header), sizeof header)));
  if (std::memcmp(header.magic, kFileMagic.data(), kFileMagic.size()) != 0) {
    return Error{ErrorCode::kCorrupt, "not an .hvd dump: its first bytes are not an .hvd's"};
  }
  if (header.version_major != kVersionMajor) {
    return Error{ErrorCode::kUnsupported,
                 "the dump has format version " + std::to_string(header.version_major) + "." +
                     std::to_string(header.version_minor) + "; this program reads version " +
                     std::to_string(kVersionMajor)};
  }
  const auto check = file_header_check(header);
  if (std::memcmp(header.check, check.data(), check.size()) != 0 ||
      header.header_size != sizeof header) {
    return Error{ErrorCode::kCorrupt, "the dump's file header is damaged"};
  }
  if (header.suite != kSuite) {
    return Error{ErrorCode::kUnsupported, "the dump uses suite " + std::to_string(header.suite) +
                                              " of ciphers and hashes; this program knows suite " +
                                              std::to_string(kSuite)};
  }
  return RecordReader(std::move(source), header);
}

Result<Record> RecordReader::read_framed(std::uint64_t file_offset) const {
  Record record;
  record.file_offset = file_offset;
  const auto bad = [&](const std::string& why) {
    return Error{ErrorCode::kCorrupt, "record at byte " + std::to_string(file_offset) + ": " + why};
  };
  if (file_offset % kAlignment != 0) return bad("a record cannot begin there");
  HVD_TRY(source_->read(file_offset, MutableBytes(reinterpret_cast<std::byte*>(&record.header),
                                                  sizeof record.header)));
  if (std::memcmp(record.header.magic, kRecordMagic.data(), kRecordMagic.size()) != 0)
    return bad("no record begins there");
  if (record.header.payload_size > kMaxPayload) {
    return bad("payload_size " + std::to_string(record.header.payload_size) +
               " is above the limit");
  }
  record.payload =
      HVD_TRY(source_->read(file_offset + sizeof record.header, record.header.payload_size));
  return record;
}

Result<void> RecordReader::prove_check(const Record& record) const {
  if (!check_matches(record.header, leaf_of(dump_, record.header, hash_of(record.payload)))) {
    return Error{ErrorCode::kCorrupt, describe(record) + " is damaged: its check does not match"};
  }
  std::array<std::byte, kAlignment> padding{};
  const std::uint64_t at = record.file_offset + sizeof record.header + record.payload.size();
  const auto size = static_cast<std::size_t>(record.end() - at);
  HVD_TRY(source_->read(at, MutableBytes(padding).first(size)));
  if (!all_zero(padding))
    return Error{ErrorCode::kCorrupt, describe(record) + " is damaged: its padding is not zero"};
  return {};
}

Result<Record> RecordReader::read(std::uint64_t file_offset) const {
  Record record = HVD_TRY(read_framed(file_offset));
  HVD_TRY(prove_check(record));
  return record;
}

Result<Record> RecordReader::read_expected(const RecordPlace& place) const {
  Record record = HVD_TRY(read_framed(place.file_offset));
  if (record.type() != place.type || record.header.partition != place.partition ||
      record.header.sequence != place.sequence) {
    return Error{ErrorCode::kCorrupt,
                 describe(record) + " is not the one that the index expects there"};
  }
  if (!record.sealed()) HVD_TRY(prove_check(record));
  return record;
}

namespace {

// In a sealed partition (an opener is at hand) everything is sealed, in a clear one nothing:
// otherwise whoever can write to the file could put plaintext of his own in place of sealed data,
// or have ciphertext taken for memory.
Result<void> expect_seal(const Record& record, const Opener* opener) {
  if (record.sealed() == (opener != nullptr)) return {};
  return Error{ErrorCode::kCorrupt,
               describe(record) + (opener ? " is not sealed although its partition is"
                                          : " is sealed although its partition is not")};
}

}  // namespace

Result<Bytes> RecordReader::block(const Record& record, const Opener* opener) const {
  HVD_TRY(expect_seal(record, opener));
  if (!opener) return unpack(record.payload, describe(record));
  const Place place{file_hash_, record.type(), record.header.partition, record.header.sequence};
  const Bytes packed = HVD_TRY(with_context(
      opener->open(piece_at(place, key_for(record.type())), record.payload), describe(record)));
  return unpack(packed, describe(record));
}

namespace {

Result<ByteView> stored_descriptor(const Record& record, ByteView& data) {
  ByteReader in(record.payload, describe(record));
  const auto header = in.read<ChunkHeader>();
  const ByteView descriptor = in.bytes(header.descriptor_size);
  data = in.rest();
  HVD_TRY(in.finish());
  return descriptor;
}

}  // namespace

Result<ChunkContents> chunk_descriptor(const RecordReader& reader, const Record& record,
                                       const Opener* opener) {
  HVD_TRY(expect_seal(record, opener));
  ByteView data;
  const ByteView stored = HVD_TRY(stored_descriptor(record, data));
  Bytes opened;
  ByteView raw = stored;
  if (opener) {
    const Place place{reader.file_hash(), RecordType::kChunk, record.header.partition,
                      record.header.sequence};
    opened = HVD_TRY(
        with_context(opener->open(piece_at(place, KeyName::map()), stored), describe(record)));
    raw = opened;
  }
  ByteReader in(raw, describe(record) + ": descriptor");
  const auto descriptor = in.read<ChunkDescriptor>();
  ChunkContents contents;
  contents.segment = descriptor.segment;
  contents.codec = descriptor.codec;
  if (descriptor.page_class >= kPageClassCount)
    in.fail("names page class " + std::to_string(descriptor.page_class));
  contents.page_class = static_cast<PageClass>(descriptor.page_class);
  if (descriptor.page_count == 0 || descriptor.page_count > kMaxChunkPages) {
    in.fail("has page_count " + std::to_string(descriptor.page_count));
  }
  if (contents.segment != record.header.sequence >> 16)
    in.fail("names another segment than its sequence");
  const std::size_t count = in.count<le16>(descriptor.page_count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t page = in.read<le16>();
    if (page >= kSegmentPages || (i > 0 && page <= contents.pages.back()))
      in.fail("lists pages out of order");
    contents.pages.push_back(page);
  }
  HVD_TRY(in.finish_exact());
  return contents;
}

Result<Bytes> chunk_pages(const RecordReader& reader, const Record& record,
                          const ChunkContents& contents, const Opener* opener) {
  HVD_TRY(expect_seal(record, opener));
  ByteView data;
  HVD_TRY(stored_descriptor(record, data));
  Bytes opened;
  if (opener) {
    Place place{reader.file_hash(), RecordType::kChunk, record.header.partition,
                record.header.sequence, 1};
    place.page_class = static_cast<std::uint8_t>(contents.page_class);
    place.codec = contents.codec;
    opened = HVD_TRY(with_context(
        opener->open(piece_at(place, KeyName::of(contents.page_class)), data), describe(record)));
    data = opened;
  }
  return with_context(decompress(contents.codec, data, contents.pages.size() * kPageBytes),
                      describe(record));
}

}  // namespace hvd::format
