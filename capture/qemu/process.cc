#include "capture/qemu/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include <cstdio>
#include <memory>

#include "base/byte_source.h"
#include "base/text.h"

namespace hvd {
namespace {

std::string proc(int pid, const std::string& name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

}  // namespace

Result<std::string> read_proc_file(int pid, const std::string& name, std::size_t limit) {
  return read_text_file(proc(pid, name), limit);
}

Result<std::vector<Mapping>> read_mappings(int pid) {
  const std::string text = HVD_TRY(read_proc_file(pid, "maps", 64u << 20));
  std::vector<Mapping> mappings;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    Mapping mapping;
    char flags[8] = {};
    unsigned major = 0, minor = 0;
    int path_at = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %x:%x %lu %n", &mapping.begin, &mapping.end,
                    flags, &mapping.file_offset, &major, &minor, &mapping.inode, &path_at) < 7) {
      continue;
    }
    mapping.readable = flags[0] == 'r';
    mapping.writable = flags[1] == 'w';
    mapping.executable = flags[2] == 'x';
    mapping.shared = flags[3] == 's';
    mapping.device = makedev(major, minor);
    mapping.path = line.substr(static_cast<std::size_t>(path_at));
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

Result<void> read_process(int pid, std::uint64_t address, MutableBytes out) {
  while (!out.empty()) {
    iovec local{out.data(), out.size()};
    iovec remote{reinterpret_cast<void*>(address), out.size()};
    const ssize_t got = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got <= 0) {
      return Error{ErrorCode::kUnreadable, "cannot read process " + std::to_string(pid) + " at " +
                                               hex(address) + ": " + std::strerror(errno)};
    }
    address += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<FileDescriptor> open_mapped_file(int pid, const Mapping& mapping) {
  const std::string folder = proc(pid, "fd");
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), ::closedir);
  if (!listing) return errno_error("cannot list the descriptors of process " + std::to_string(pid));
  while (const dirent* entry = ::readdir(listing.get())) {
    struct stat status{};
    const std::string path = folder + "/" + entry->d_name;
    if (::stat(path.c_str(), &status) != 0 || status.st_ino != mapping.inode ||
        status.st_dev != mapping.device)
      continue;
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd) return fd;
  }
  return Error{ErrorCode::kNotFound,
               "process " + std::to_string(pid) + " holds no descriptor for " + mapping.path};
}

}  // namespace hvd
