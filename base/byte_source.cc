#include "base/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace hvd {

Result<void> ByteSource::read(std::uint64_t offset, MutableBytes out) const {
  if (offset > size() || out.size() > size() - offset) {
    return Error{ErrorCode::kCorrupt, "the file ends at byte " + std::to_string(size()) + " but " +
                                          std::to_string(out.size()) + " bytes are expected at " +
                                          std::to_string(offset)};
  }
  if (out.empty()) return {};
  return read_inside(offset, out);
}

Result<Bytes> ByteSource::read(std::uint64_t offset, std::size_t count) const {
  if (offset > size() || count > size() - offset) {  // before allocating
    return Error{ErrorCode::kCorrupt, "the file ends at byte " + std::to_string(size()) + " but " +
                                          std::to_string(count) + " bytes are expected at " +
                                          std::to_string(offset)};
  }
  Bytes out(count);
  HVD_TRY(read(offset, out));
  return out;
}

Result<std::shared_ptr<FileSource>> FileSource::open(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error("cannot open " + path);
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  if (size < 0)
    return errno_error("cannot read " + path +
                       " (a dump is read at offsets, so it cannot be a pipe)");
  std::byte probe{};
  if (::pread(fd.get(), &probe, 1, 0) < 0) return errno_error("cannot read " + path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return errno_error("cannot read " + path);
  return std::shared_ptr<FileSource>(
      new FileSource(std::move(fd), static_cast<std::uint64_t>(size), S_ISBLK(info.st_mode)));
}

Result<void> FileSource::read_inside(std::uint64_t offset, MutableBytes out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read at byte " + std::to_string(offset));
    if (got == 0) return Error{ErrorCode::kIo, "the file shrank while it was read"};
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<void> BufferSource::read_inside(std::uint64_t offset, MutableBytes out) const {
  std::memcpy(out.data(), bytes_.data() + offset, out.size());
  return {};
}

Result<std::string> read_text_file(const std::string& path, std::size_t limit) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error("cannot open " + path);
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read " + path);
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > limit) {
      return Error{ErrorCode::kInvalidArgument,
                   path + " is larger than " + std::to_string(limit) + " bytes"};
    }
  }
}

}  // namespace hvd
