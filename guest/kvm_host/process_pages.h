// ProcessPages: which pages of a KVM host's memory are those of its processes that run no VM.
//
// A page says what it is of by page.mapping: for anonymous memory a struct anon_vma, of which those
// of one process and its children hang under one root (mm/rmap.c); for files and shared memory a
// struct address_space. A page is a process's when its root or address space is one that only
// processes without a VM lead to. In doubt it is nobody's. All other pages of files are known only
// not to be of those that a VMM has open or mapped.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "guest/kvm_host/host.h"
#include "guest/linux/page_structs.h"

namespace hvd::linux_guest {

enum class HostFiles {
  kOfProcesses,  // that a process without a VM has open or mapped
  kAll,          // but those that a VMM has open or mapped
};

class ProcessPages {
 public:
  /// Looks at every process's memory areas and at the files that it has open. A process that
  /// shares memory with a VMM, as the back ends of its devices do, counts as one. `host.kernel`
  /// must outlive the result. Memory in use grows with the number of memory areas, not of pages.
  static Result<ProcessPages> open(const Host& host, HostFiles which);

  /// The class of each of the pages [first, first + count) that is such a process's: user or
  /// page-cache; none for all others. Safe to call from several threads.
  std::vector<std::optional<PageClass>> classify(std::uint64_t first, std::size_t count) const;

 private:
  ProcessPages(const Kernel& kernel, const PageStructs& pages, const Member& root)
      : kernel_(&kernel), pages_(pages), root_(root) {}
  struct Survey;
  class Processes;
  std::uint64_t root_of(std::uint64_t anon_vma) const;
  bool is_hosts(std::uint64_t file) const;

  const Kernel* kernel_;
  PageStructs pages_;
  Member root_;  // anon_vma.root
  std::unordered_set<std::uint64_t> anonymous_, files_, tenants_files_;
  HostFiles which_ = HostFiles::kOfProcesses;
  // The kernel's memory is for one thread at a time.
  mutable std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  mutable std::unordered_map<std::uint64_t, std::uint64_t> roots_;  // of anon_vmas seen before
};

}  // namespace hvd::linux_guest
