// A vCPU's registers, from where KVM keeps them while the guest does not run
// (arch/x86/include/asm/kvm_host.h, arch/x86/include/asm/svm.h, arch/x86/kvm/kvm_cache_regs.h).
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "guest/kvm_host/kvm_types.h"
#include "guest/kvm_host/virtual_machines.h"

namespace hvd::linux_guest {

class VcpuLayout {
 public:
  /// `types` and `kernel` must outlive the result. kNotFound or kUnsupported when the structures
  /// are not those of a kernel from v5.17 on.
  static Result<VcpuLayout> from(const Kernel& kernel, const KvmTypes& types);

  /// Registers that KVM does not have at hand are unknown, never guessed.
  Result<VirtualCpu> read(VirtAddr vcpu) const;

 private:
  explicit VcpuLayout(const Kernel& kernel) : kernel_(&kernel) {}
  Result<void> read_general(VirtAddr vcpu, Registers& out) const;
  Result<void> read_vmcb(VirtAddr vcpu, Registers& out) const;
  Result<void> read_vmx(VirtAddr vcpu, Registers& out) const;

  using Places = std::vector<std::pair<Reg, Member>>;
  const Kernel* kernel_;
  Member id_, cpu_, mode_, pid_, regs_, available_;
  Member pid_number_;
  std::vector<std::pair<Reg, std::uint64_t>> general_;  // index in `regs`
  Places cached_;  // in kvm_vcpu.arch, by their `available` bit
  std::vector<std::uint64_t> cached_bits_;
  std::optional<Member> vmcb_;  // in struct vcpu_svm, of which kvm_vcpu is the beginning
  Places saved_;                // in struct vmcb
  std::optional<Member> swapped_gs_,
      loaded_;  // in struct vcpu_vmx, which also begins with kvm_vcpu
  std::uint64_t in_guest_mode_ = 1;
};

}  // namespace hvd::linux_guest
