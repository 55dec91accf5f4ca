// What KVM has of a guest in pages of its own: the guest's registers, FPU state, interrupt
// controller and port data (arch/x86/include/asm/kvm_host.h, arch/x86/kvm/svm/svm.h,
// arch/x86/kvm/vmx/vmx.h).
#pragma once

#include "guest/kvm_host/kvm_types.h"
#include "guest/kvm_host/virtual_machines.h"

namespace hvd::linux_guest {

struct KvmState {
  enum class What : std::uint32_t { kRun = 1, kPortData, kFpu, kLocalApic, kVmcb, kVmcs, kMmio };
  What what{};
  std::uint32_t cpu = 0;  // the guest's; 0 for what all of them share
  ModuleRange at;         // in the host's kernel
};

/// Of all vCPUs of `machine`. An error means that some of it may be anywhere.
Result<std::vector<KvmState>> read_kvm_state(const Kernel& kernel, const KvmTypes& types,
                                             const VirtualMachine& machine);

}  // namespace hvd::linux_guest
