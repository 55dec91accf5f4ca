// OutputFile: a file that appears under its name only when it is complete.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/byte_sink.h"
#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

/// kInvalidArgument when `output` is another name of one of `inputs`, of which some may be empty:
/// what a command reads, its keys and policy above all, must not be what it replaces. OutputFile
/// asks this for the input that it is given.
Result<void> refuse_inputs_as_output(const std::string& output,
                                     const std::vector<std::string>& inputs);

/// Written beside its final name and renamed by commit(); destroyed without commit() it leaves
/// nothing behind, also when the process gets SIGINT or SIGTERM. The file may be written at any
/// offset; what is never written stays a hole.
class OutputFile {
 public:
  /// kInvalidArgument when `path` names an input (`not_this` may be empty) or something that is no
  /// regular file; kIo when it cannot be created.
  static Result<OutputFile> create(const std::string& path, const std::string& not_this);
  OutputFile(OutputFile&&) noexcept = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Safe to call from several threads for different offsets.
  Result<void> write_at(std::uint64_t offset, ByteView bytes);
  Result<void> resize(std::uint64_t size);
  Result<void> commit();

 private:
  OutputFile(FileDescriptor fd, std::string temporary, std::string path);
  void unregister();
  FileDescriptor fd_;
  std::unique_ptr<std::string> temporary_;  // on the heap: the signal handler keeps its address
  std::string path_;
};

/// An OutputFile, which must outlive it, from front to back. Durable is what its commit() makes so.
class OutputFileSink final : public ByteSink {
 public:
  explicit OutputFileSink(OutputFile& file) : file_(file) {}
  Result<void> append(ByteView bytes) override {
    HVD_TRY(file_.write_at(offset_, bytes));
    offset_ += bytes.size();
    return {};
  }
  Result<void> sync() override { return {}; }

 private:
  OutputFile& file_;
  std::uint64_t offset_ = 0;
};

/// Writes `contents` to `path` through an OutputFile, straight into a device or FIFO, or to
/// standard output for "-" or nothing.
Result<void> write_whole_file(const std::string& path, ByteView contents,
                              const std::string& not_this = {});

}  // namespace hvd
