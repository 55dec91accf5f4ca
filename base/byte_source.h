// ByteSource: bytes at offsets, from a file or from memory.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  /// Then what was there before may lie behind what was written.
  virtual bool is_device() const { return false; }

  /// Fills `out` from `offset`, or fails: kCorrupt when the source ends before, kIo otherwise.
  /// Safe to call from several threads.
  Result<void> read(std::uint64_t offset, MutableBytes out) const;

  /// Reads `count` bytes into a new buffer. The count must be one the caller has bounded.
  Result<Bytes> read(std::uint64_t offset, std::size_t count) const;

 private:
  /// Called only with a range that lies inside size().
  virtual Result<void> read_inside(std::uint64_t offset, MutableBytes out) const = 0;
};

/// A regular file or block device, read with pread: unlike a mapping, a file that shrinks meanwhile
/// is an error and not a signal.
class FileSource final : public ByteSource {
 public:
  static Result<std::shared_ptr<FileSource>> open(const std::string& path);
  std::uint64_t size() const override { return size_; }
  bool is_device() const override { return device_; }

 private:
  FileSource(FileDescriptor fd, std::uint64_t size, bool device)
      : fd_(std::move(fd)), size_(size), device_(device) {}
  Result<void> read_inside(std::uint64_t offset, MutableBytes out) const override;
  FileDescriptor fd_;
  std::uint64_t size_;
  bool device_;
};

/// The first bytes of another source.
class SourceHead final : public ByteSource {
 public:
  /// `size`: at most that of the other.
  SourceHead(std::shared_ptr<const ByteSource> whole, std::uint64_t size)
      : whole_(std::move(whole)), size_(size) {}
  std::uint64_t size() const override { return size_; }

 private:
  Result<void> read_inside(std::uint64_t offset, MutableBytes out) const override {
    return whole_->read(offset, out);
  }
  std::shared_ptr<const ByteSource> whole_;
  std::uint64_t size_;
};

class BufferSource final : public ByteSource {
 public:
  explicit BufferSource(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }

 private:
  Result<void> read_inside(std::uint64_t offset, MutableBytes out) const override;
  Bytes bytes_;
};

/// Reads a small text file whole (policies, key files); kInvalidArgument when it is larger than
/// `limit` bytes.
Result<std::string> read_text_file(const std::string& path, std::size_t limit);

}  // namespace hvd
