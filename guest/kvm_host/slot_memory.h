// SlotMemory: a virtual machine's physical memory inside its host's, by KVM's memory slots and the
// memory of the VMM process.
#pragma once

#include <memory>
#include <vector>

#include "base/lru_cache.h"
#include "guest/kvm_host/process_memory.h"
#include "guest/kvm_host/virtual_machines.h"

namespace hvd::linux_guest {

class SlotMemory final : public PhysicalMemory {
 public:
  /// `vmm` and what it reads from must outlive the object. Where a page lies is found out when it
  /// is asked for and kept for a bounded number of pages, so that memory in use does not grow with
  /// the VM. Pages that are not in the host's memory (swapped out, or never read from a file) are
  /// absent, with that reason; those never written to are zero, and of a VM whose memory is
  /// encrypted all others are restricted. Of slots that overlap, which KVM does
  /// not allow, the one that begins first counts.
  SlotMemory(std::shared_ptr<const ProcessMemory> vmm, std::vector<MemorySlot> slots,
             bool encrypted = false);
  /// Of a VM of the host `kernel`, which must outlive the result. When the VMM's memory areas
  /// cannot be read, `problems` says so.
  static std::shared_ptr<const SlotMemory> open(const Kernel& kernel, const VirtualMachine& machine,
                                                std::vector<std::string>& problems);

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override;

  const std::shared_ptr<const ProcessMemory>& vmm() const { return vmm_; }

 private:
  // A window is kWindow bytes of a slot, aligned to that in the guest.
  using Window = std::vector<ProcessRun>;
  struct Place {
    std::shared_ptr<const Window> window;  // keeps `run` alive
    const ProcessRun* run = nullptr;
    std::uint64_t offset = 0;  // in the run
  };
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const MemorySlot* slot_at(PhysAddr at) const;
  Place place_of(const MemorySlot& slot, PhysAddr at) const;

  const std::shared_ptr<const ProcessMemory> vmm_;
  std::vector<MemorySlot> slots_;  // sorted, not overlapping
  std::vector<PhysRange> ranges_;
  const bool encrypted_;
  mutable LruCache<std::uint64_t, Window> windows_;  // by guest address
};

}  // namespace hvd::linux_guest
