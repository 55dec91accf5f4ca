#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace hvd {
namespace {

// Names of unfinished files, for the signal handler: only lock-free atomics may be touched there,
// and unlink is async-signal-safe. A slot's pointer is owned by its OutputFile.
constexpr std::size_t kSlots = 64;
std::atomic<const char*> unfinished[kSlots];

void remove_unfinished(int signal) {
  for (auto& slot : unfinished) {
    if (const char* path = slot.load()) ::unlink(path);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void install_cleanup() {
  static const bool installed = [] {
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction current{};
      // A program that handles the signal itself unwinds normally and needs no help.
      if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
        ::signal(signal, remove_unfinished);
      }
    }
    return true;
  }();
  (void)installed;
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat sa{}, sb{};
  return ::stat(a.c_str(), &sa) == 0 && ::stat(b.c_str(), &sb) == 0 && sa.st_dev == sb.st_dev &&
         sa.st_ino == sb.st_ino;
}

}  // namespace

Result<void> refuse_inputs_as_output(const std::string& output,
                                     const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    if (!input.empty() && same_file(output, input))
      return Error{ErrorCode::kInvalidArgument, "the output " + output + " is the input itself"};
  }
  return {};
}

OutputFile::OutputFile(FileDescriptor fd, std::string temporary, std::string path)
    : fd_(std::move(fd)),
      temporary_(std::make_unique<std::string>(std::move(temporary))),
      path_(std::move(path)) {
  for (auto& slot : unfinished) {
    const char* empty = nullptr;
    if (slot.compare_exchange_strong(empty, temporary_->c_str())) break;
  }
}

void OutputFile::unregister() {
  for (auto& slot : unfinished) {
    const char* mine = temporary_->c_str();
    if (slot.compare_exchange_strong(mine, nullptr)) break;
  }
}

Result<OutputFile> OutputFile::create(const std::string& path, const std::string& not_this) {
  HVD_TRY(refuse_inputs_as_output(path, {not_this}));
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
    return Error{ErrorCode::kInvalidArgument, "the output " + path + " is a directory"};
  }
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    // A rename would put a regular file in the place of a device or FIFO.
    return Error{ErrorCode::kInvalidArgument,
                 "the output " + path + " exists and is not a regular file"};
  }
  install_cleanup();
  std::string temporary = path + ".XXXXXX";
  FileDescriptor fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return errno_error("cannot create " + path);
  return OutputFile(std::move(fd), std::move(temporary), path);
}

OutputFile::~OutputFile() {
  if (!temporary_) return;  // moved from, or committed
  ::unlink(temporary_->c_str());
  unregister();
}

Result<void> OutputFile::write_at(std::uint64_t offset, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("cannot write to " + path_);
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> OutputFile::resize(std::uint64_t size) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
    return errno_error("cannot size " + path_);
  return {};
}

Result<void> OutputFile::commit() {
  // Closing reports what a network file system deferred.
  if (::close(fd_.release()) != 0) return errno_error("cannot finish " + path_);
  if (::rename(temporary_->c_str(), path_.c_str()) != 0)
    return errno_error("cannot put " + path_ + " in place");
  unregister();
  temporary_.reset();
  return {};
}

Result<void> write_whole_file(const std::string& path, ByteView contents,
                              const std::string& not_this) {
  struct stat status{};
  const bool special =
      ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  if (path == "-" || path.empty() || special) {
    auto sink = HVD_TRY(FileSink::create(path.empty() ? "-" : path));
    return sink->append(contents);
  }
  OutputFile file = HVD_TRY(OutputFile::create(path, not_this));
  HVD_TRY(file.write_at(0, contents));
  return file.commit();
}

}  // namespace hvd
