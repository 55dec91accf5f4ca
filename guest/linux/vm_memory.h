// VmMemory: a virtual machine's physical memory inside its host's, by KVM's memory slots and the
// page tables of the VMM process.
#pragma once

#include <memory>
#include <vector>

#include "guest/linux/kvm.h"

namespace hvd::linux_guest {

class VmMemory final : public PhysicalMemory {
 public:
  /// `host` must outlive the result. Pages that the VMM's page tables do not map (never touched,
  /// swapped out, or only in the page cache of a shared file) are absent as unreadable. Of slots
  /// that overlap, which KVM does not allow, the one that begins last counts.
  static std::shared_ptr<const VmMemory> open(const PhysicalMemory& host, const PageTables& vmm,
                                              const std::vector<MemorySlot>& slots);

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

 private:
  struct Piece {
    PhysRange range;  // of the guest
    PhysAddr host;
  };
  explicit VmMemory(const PhysicalMemory& host) : host_(host) {}
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const Piece* piece_at(PhysAddr at) const;

  const PhysicalMemory& host_;
  std::vector<PhysRange> ranges_;
  std::vector<Piece> pieces_;  // sorted
};

}  // namespace hvd::linux_guest
