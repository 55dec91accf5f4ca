#include "base/byte_sink.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace hvd {

Result<std::unique_ptr<FileSink>> FileSink::create(const std::string& path) {
  if (path == "-") {
    FileDescriptor fd(::dup(STDOUT_FILENO));
    if (!fd) return errno_error("cannot write to standard output");
    return std::make_unique<FileSink>(std::move(fd), "standard output");
  }
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return errno_error("cannot create " + path);
  return std::make_unique<FileSink>(std::move(fd), path);
}

Result<void> FileSink::append(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("cannot write to " + name_);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> FileSink::sync() {
  struct stat status{};
  if (::fstat(fd_.get(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
    return {};
  if (::fdatasync(fd_.get()) != 0) return errno_error("cannot flush " + name_);
  return {};
}

}  // namespace hvd
