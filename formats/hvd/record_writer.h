// RecordWriter: appends records to a sink, hashes them and signs checkpoints.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/byte_sink.h"
#include "formats/hvd/integrity.h"
#include "formats/hvd/layout.h"

namespace hvd::format {

class RecordWriter {
 public:
  /// Writes the file header.
  static Result<std::unique_ptr<RecordWriter>> start(std::unique_ptr<ByteSink> sink,
                                                     const DumpId& dump, std::uint64_t created_ns,
                                                     const SigningKey& key);

  /// Appends one record and returns its file offset. Safe to call from several threads; the payload
  /// is hashed outside the lock. After a failed write every further call fails the same way.
  /// Requires payload.size() <= kMaxPayload.
  Result<std::uint64_t> append(RecordType type, std::uint16_t flags, std::uint32_t partition,
                               std::uint64_t sequence, ByteView payload);

  /// Signs everything appended so far. Does not wait for the disk: a guest may be stopped
  /// meanwhile.
  Result<void> checkpoint();

  /// Index, last checkpoint, footer; then makes all of it durable. Nothing may follow.
  Result<void> finish();

  const DumpId& dump_id() const { return dump_; }
  /// H(file header): what seals are bound to.
  const Hash& file_hash() const { return file_hash_; }
  std::uint64_t bytes_written() const;

 private:
  RecordWriter(std::unique_ptr<ByteSink> sink, const DumpId& dump, const SigningKey& key)
      : sink_(std::move(sink)), dump_(dump), key_(key) {}
  Result<std::uint64_t> append_locked(RecordType type, std::uint16_t flags, std::uint32_t partition,
                                      std::uint64_t sequence, ByteView payload,
                                      const Hash& payload_hash);
  Result<void> checkpoint_locked();

  mutable std::mutex mutex_;
  std::unique_ptr<ByteSink> sink_;
  const DumpId dump_;
  const SigningKey key_;
  std::uint64_t offset_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t first_leaf_ = 0;
  Bytes framed_;  // of the last record: a buffer for each costs more page faults than copying
  std::vector<Hash> leaves_;
  Hash file_hash_{};
  Hash node_{};
  std::uint64_t checkpoint_offset_ = 0;
  std::vector<IndexEntry> index_;
  std::optional<Error> broken_;
};

}  // namespace hvd::format
