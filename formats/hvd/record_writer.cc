#include "formats/hvd/record_writer.h"

#include <cassert>
#include <cstring>

#include "base/byte_writer.h"

namespace hvd::format {

Result<std::unique_ptr<RecordWriter>> RecordWriter::start(std::unique_ptr<ByteSink> sink,
                                                          const DumpId& dump,
                                                          std::uint64_t created_ns,
                                                          const SigningKey& key) {
  std::unique_ptr<RecordWriter> writer(new RecordWriter(std::move(sink), dump, key));
  FileHeader header{};
  std::memcpy(header.magic, kFileMagic.data(), kFileMagic.size());
  header.version_major = kVersionMajor;
  header.version_minor = kVersionMinor;
  header.header_size = sizeof header;
  std::memcpy(header.dump_id, dump.data(), dump.size());
  std::memcpy(header.signer, key.public_key().data(), sizeof header.signer);
  header.created_ns = created_ns;
  header.suite = kSuite;
  const auto check = file_header_check(header);
  std::memcpy(header.check, check.data(), check.size());
  HVD_TRY(writer->sink_->append(bytes_of(header)));
  writer->offset_ = sizeof header;
  writer->file_hash_ = file_header_hash(header);
  writer->node_ = writer->file_hash_;
  return writer;
}

std::uint64_t RecordWriter::bytes_written() const {
  std::lock_guard lock(mutex_);
  return offset_;
}

Result<std::uint64_t> RecordWriter::append(RecordType type, std::uint16_t flags,
                                           std::uint32_t partition, std::uint64_t sequence,
                                           ByteView payload) {
  const Hash payload_hash = hash_of(payload);
  std::lock_guard lock(mutex_);
  const std::uint64_t at =
      HVD_TRY(append_locked(type, flags, partition, sequence, payload, payload_hash));
  if (leaves_.size() >= kCheckpointEvery) HVD_TRY(checkpoint_locked());
  return at;
}

Result<std::uint64_t> RecordWriter::append_locked(RecordType type, std::uint16_t flags,
                                                  std::uint32_t partition, std::uint64_t sequence,
                                                  ByteView payload, const Hash& payload_hash) {
  assert(payload.size() <= kMaxPayload);
  if (broken_) return *broken_;
  RecordHeader header{};
  std::memcpy(header.magic, kRecordMagic.data(), kRecordMagic.size());
  header.type = static_cast<std::uint16_t>(type);
  header.flags = flags;
  header.partition = partition;
  header.payload_size = static_cast<std::uint32_t>(payload.size());
  header.number = number_;
  header.sequence = sequence;
  const Hash leaf = leaf_of(dump_, header, payload_hash);
  set_check(header, leaf);

  static constexpr std::array<std::byte, kAlignment> kZeros{};
  const std::size_t padding = (kAlignment - payload.size() % kAlignment) % kAlignment;
  framed_.clear();
  framed_.reserve(sizeof header + payload.size() + padding);
  hvd::append(framed_, bytes_of(header));
  hvd::append(framed_, payload);
  hvd::append(framed_, ByteView(kZeros).first(padding));
  if (auto written = sink_->append(framed_); !written) {
    broken_ = written.error();
    return *broken_;
  }
  const std::uint64_t at = offset_;
  offset_ += framed_.size();
  ++number_;
  // Checkpoints and the footer are covered by the chain of signatures, not by leaves.
  if (type != RecordType::kCheckpoint && type != RecordType::kFooter) leaves_.push_back(leaf);
  if (type != RecordType::kChunk && type != RecordType::kMap) {
    IndexEntry entry{};
    entry.type = header.type;
    entry.partition = partition;
    entry.sequence = sequence;
    entry.file_offset = at;
    index_.push_back(entry);
  }
  return at;
}

Result<void> RecordWriter::checkpoint() {
  std::lock_guard lock(mutex_);
  return checkpoint_locked();
}

Result<void> RecordWriter::checkpoint_locked() {
  if (leaves_.empty()) return {};
  CheckpointHeader header{};
  header.first_record = first_leaf_;
  header.count = static_cast<std::uint32_t>(leaves_.size());
  std::memcpy(header.previous, node_.data(), node_.size());
  ByteWriter payload;
  payload.put(header);
  for (const Hash& leaf : leaves_) payload.put(std::as_bytes(std::span(leaf)));
  node_ = checkpoint_node(dump_, payload.view());
  const Signature signature = key_.sign(kCheckpointPurpose, dump_, node_);
  payload.put(std::as_bytes(std::span(signature)));
  checkpoint_offset_ = HVD_TRY(append_locked(RecordType::kCheckpoint, kFlagCritical, kNoPartition,
                                             first_leaf_, payload.view(), hash_of(payload.view())));
  leaves_.clear();
  first_leaf_ = number_;
  return {};
}

Result<void> RecordWriter::finish() {
  std::lock_guard lock(mutex_);
  ByteWriter index;
  index.u32(static_cast<std::uint32_t>(index_.size())).u32(0);
  for (const IndexEntry& entry : index_) index.put(entry);
  if (index.size() > kMaxPayload) {
    // Never lose a dump for its index: a reader recovers all of it by scanning.
    return Error{ErrorCode::kUnsupported,
                 "the dump has more records than an index can hold; it can still be read"};
  }
  Footer footer{};
  footer.index_offset = HVD_TRY(append_locked(RecordType::kIndex, kFlagCritical, kNoPartition, 0,
                                              index.view(), hash_of(index.view())));
  HVD_TRY(checkpoint_locked());
  footer.checkpoint_offset = checkpoint_offset_;
  footer.record_count = number_ + 1;
  footer.file_size = offset_ + kFooterRecordBytes;
  std::memcpy(footer.node, node_.data(), node_.size());
  const ByteView unsigned_part = bytes_of(footer).first(sizeof footer - sizeof footer.signature);
  const Signature signature = key_.sign(kFooterPurpose, dump_, keyed_hash(dump_, unsigned_part));
  std::memcpy(footer.signature, signature.data(), signature.size());
  HVD_TRY(append_locked(RecordType::kFooter, kFlagCritical, kNoPartition, 0, bytes_of(footer),
                        hash_of(bytes_of(footer))));
  return sink_->sync();
}

}  // namespace hvd::format
