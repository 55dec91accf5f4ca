// KvmTypes: where a kernel describes KVM's structures: in the modules kvm and kvm_amd or kvm_intel,
// or in itself when they are built in.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "guest/linux/modules.h"

namespace hvd::linux_guest {

class KvmTypes {
 public:
  /// Null when the kernel has no KVM. kNotFound when it has, and does not describe it. `kernel`
  /// must outlive the result.
  static Result<std::unique_ptr<const KvmTypes>> open(const Kernel& kernel,
                                                      const std::vector<Module>& modules);

  const Types& kvm() const { return own_ ? *own_ : *kernel_types_; }
  /// With struct vcpu_svm, where AMD's virtualisation is in use, and with struct vcpu_vmx, where
  /// Intel's is; else null.
  const Types* amd() const { return amd_; }
  const Types* intel() const { return intel_; }
  /// The list of all struct kvm.
  VirtAddr vm_list() const { return vm_list_; }

 private:
  KvmTypes() = default;
  Result<void> find_vendor(const Kernel& kernel, const std::vector<Module>& modules);

  VirtAddr vm_list_;
  std::optional<Types> own_, vendor_;  // of modules
  const Types* kernel_types_ = nullptr;
  const Types* amd_ = nullptr;
  const Types* intel_ = nullptr;
};

}  // namespace hvd::linux_guest
