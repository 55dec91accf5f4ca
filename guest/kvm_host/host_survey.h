// HostPages::Builder: asks the kernel where its structures are. In three files: the kernel's own
// structures (host_survey.cc), what tasks and VMs lead to (host_owners.cc), and what must not be
// seen (host_secrets.cc).
#pragma once

#include <optional>

#include "guest/kvm_host/host_pages.h"

namespace hvd::linux_guest {

class HostPages::Builder {
 public:
  Builder(const Host& host, HostDetail detail, HostPages& out, std::vector<std::string>& problems)
      : host_(host),
        kernel_(host.kernel),
        tables_(host.kernel.memory().tables()),
        detail_(detail),
        out_(out),
        problems_(problems) {}

  Result<void> run();

 private:
  void tell(const char* what, const Result<void>& done) {
    if (!done) problems_.push_back(std::string(what) + " may be missing: " + done.error().message);
  }
  // The physical pieces of [at, at + size), each with where it is mapped.
  std::vector<PageMapping> pieces(VirtAddr at, std::uint64_t size) const;
  // All pages that are touched.
  void add(HostKind kind, VirtAddr at, std::uint64_t size);
  // Of KVM's structures and the like, exactly these bytes.
  void keep(VirtAddr at, std::uint64_t size);
  void blank(VirtAddr at, std::uint64_t size);
  Result<std::uint64_t> variable(const char* name) const;

  Result<void> image();
  Result<void> page_tables();
  Result<void> memory_map();
  Result<void> per_cpu();
  Result<void> log();
  Result<void> module_types();
  Result<void> module_attributes(const Module& module);

  Result<void> caches();
  Result<void> tasks();
  Result<void> virtual_machines();

  Result<void> unknown_memory();
  Result<void> secrets();
  Result<void> own_stacks(unsigned cpu, const std::vector<PhysAddr>& stack_pointers);

  const Host& host_;
  const Kernel& kernel_;
  const PageTables& tables_;
  const HostDetail detail_;
  HostPages& out_;
  std::vector<std::string>& problems_;
  const Types* types_ = nullptr;
  std::optional<Error> guest_state_;  // why it is not known where all of it is
};

}  // namespace hvd::linux_guest
