// ByteSink: where output goes, front to back, without seeking.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Writes all of `bytes`, or fails with kIo; what was written before stays.
  virtual Result<void> append(ByteView bytes) = 0;
  /// Makes everything appended durable where the destination can.
  virtual Result<void> sync() = 0;
};

/// A file, block device, pipe or terminal.
class FileSink final : public ByteSink {
 public:
  /// Creates `path` with mode 0600 (a dump holds secrets even when sealed), or opens standard
  /// output for "-". An existing regular file is replaced; a block device or FIFO is written as it
  /// is.
  static Result<std::unique_ptr<FileSink>> create(const std::string& path);

  explicit FileSink(FileDescriptor fd, std::string name)
      : fd_(std::move(fd)), name_(std::move(name)) {}
  Result<void> append(ByteView bytes) override;
  Result<void> sync() override;

 private:
  FileDescriptor fd_;
  std::string name_;
};

class BufferSink final : public ByteSink {
 public:
  Result<void> append(ByteView bytes) override {
    hvd::append(bytes_, bytes);
    return {};
  }
  Result<void> sync() override { return {}; }
  const Bytes& bytes() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

}  // namespace hvd
