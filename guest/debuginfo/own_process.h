// OwnProcess: a process with nothing to lose, which answers questions about one file.
//
// LLVM trusts the files that it reads: a section header with an entry size of 0 divides by zero, a
// damaged PDB leads to wild pointers. Debug information comes from packages and symbol servers, and
// a report must not be lost for it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

class OwnProcess {
 public:
  using Answer = std::function<Bytes(ByteView question)>;

  /// Starts the process, in which `answer` runs once for each question. What it changes is changed
  /// there only. `what` names the file in errors.
  static Result<std::unique_ptr<OwnProcess>> start(std::string what, const Answer& answer);
  OwnProcess(const OwnProcess&) = delete;
  OwnProcess& operator=(const OwnProcess&) = delete;
  ~OwnProcess();

  /// kCorrupt when the process died of this question or of one before, or took longer than a
  /// minute. The answer is as trustworthy as the file.
  Result<Bytes> ask(ByteView question);

 private:
  OwnProcess(std::string what, FileDescriptor socket, pid_t child)
      : what_(std::move(what)), socket_(std::move(socket)), child_(child) {}
  std::string what_;
  FileDescriptor socket_;
  pid_t child_;
};

/// One question, without contents, to a process for it alone.
Result<Bytes> ask_own_process(std::string what, const std::function<Bytes()>& answer);

}  // namespace hvd
