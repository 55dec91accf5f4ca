// What the KVM of a dead host had of a guest in pages of its own, as memory of the tenant's
// partition: each part has a range of its own (SPEC.md, "FACTS", kind "kvm").
#pragma once

#include <mutex>

#include "base/facts.h"
#include "capture/host/tenant.h"
#include "guest/kvm_host/kvm_state.h"
#include "guest/linux/page_structs.h"

namespace hvd {

/// Behind the VMM's memory.
inline constexpr std::uint64_t kKvmBase = kVmmBase + (std::uint64_t{1} << 56);

class KvmStateMemory final : public PhysicalMemory {
 public:
  /// All of `machine`; an error when it is not known where it is, or whose a page is.
  static Result<std::unique_ptr<const KvmStateMemory>> open(
      const linux_guest::Kernel& host, const linux_guest::KvmTypes& types,
      const linux_guest::VirtualMachine& machine);
  /// `host` must outlive the object.
  KvmStateMemory(const linux_guest::Kernel& host, const linux_guest::PageStructs& pages,
                 std::vector<linux_guest::KvmState> parts);
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

  /// Which part is where, for FACTS.
  std::vector<KvmPart> list() const;

 private:
  struct Place {
    VirtAddr at;             // in the host's kernel
    std::uint64_t size = 0;  // bytes of the part from there on
  };
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  std::optional<Place> place_of(PhysAddr at) const;

  const linux_guest::Kernel& host_;
  const linux_guest::PageStructs pages_;
  const std::vector<linux_guest::KvmState> parts_;
  std::vector<PhysRange> ranges_;
  mutable std::mutex mutex_;  // the host's memory is for one thread at a time
};

}  // namespace hvd
