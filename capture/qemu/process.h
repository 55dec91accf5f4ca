// Another process's memory and mappings, through /proc and process_vm_readv.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

struct Mapping {
  std::uint64_t begin = 0, end = 0;
  std::uint64_t file_offset = 0;
  std::uint64_t device = 0, inode = 0;  // inode 0: anonymous
  bool readable = false, writable = false, executable = false, shared = false;
  std::string path;
  bool contains(std::uint64_t address) const { return address - begin < end - begin; }
};

/// kIo when the process is gone or may not be looked at.
Result<std::vector<Mapping>> read_mappings(int pid);

/// The text of /proc/PID/<name> (at most `limit` bytes).
Result<std::string> read_proc_file(int pid, const std::string& name, std::size_t limit = 4u << 20);

/// Reads all of `out` from the process, or fails with kUnreadable.
Result<void> read_process(int pid, std::uint64_t address, MutableBytes out);

/// Opens for reading the file behind a shared mapping, through one of the process's own
/// descriptors: it may have no name (memfd) or one in another mount namespace.
Result<FileDescriptor> open_mapped_file(int pid, const Mapping& mapping);

}  // namespace hvd
