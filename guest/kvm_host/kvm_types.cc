#include "guest/kvm_host/kvm_types.h"

#include <algorithm>

namespace hvd::linux_guest {

Result<std::unique_ptr<const KvmTypes>> KvmTypes::open(const Kernel& kernel,
                                                       const std::vector<Module>& modules) {
  std::unique_ptr<KvmTypes> out(new KvmTypes);
  if (const Module* kvm = module_named(modules, "kvm")) {
    // What needs it can only be loaded once it has started, and as long as that is there it stays.
    const bool used = module_named(modules, "kvm_amd") || module_named(modules, "kvm_intel");
    if (!kvm->live && !used) return std::unique_ptr<const KvmTypes>();
    for (const ModuleSymbol& symbol : read_module_symbols(kernel, *kvm)) {
      if (symbol.name == "vm_list") out->vm_list_ = symbol.address;
    }
    if (out->vm_list_.value == 0)
      return Error{ErrorCode::kNotFound, "module kvm has no symbol vm_list"};
    out->own_ = HVD_TRY(read_module_types(kernel, *kvm));
  } else {
    const auto list = kernel.symbol("vm_list");
    if (!list) return std::unique_ptr<const KvmTypes>();
    out->vm_list_ = *list;
    out->kernel_types_ = HVD_TRY(kernel.need_types());
  }
  HVD_TRY(out->find_vendor(kernel, modules));
  return std::unique_ptr<const KvmTypes>(std::move(out));
}

Result<void> KvmTypes::find_vendor(const Kernel& kernel, const std::vector<Module>& modules) {
  for (const auto& [name, use] : {std::pair{"kvm_amd", &amd_}, {"kvm_intel", &intel_}}) {
    const Module* module = module_named(modules, name);
    if (!module) continue;
    vendor_ = HVD_TRY(read_module_types(kernel, *module));
    *use = &*vendor_;
    return {};
  }
  const auto operations = kernel.symbol("kvm_x86_ops");
  if (!kernel_types_ || !operations) return {};
  // A kernel with both built in has filled in the operations of the one that the CPU has. Those of
  // Intel's may pass through functions of TDX (arch/x86/kvm/vmx/main.c), since v6.9.
  const Member create = HVD_TRY(kernel_types_->member("kvm_x86_ops", "vcpu_create"));
  const VirtAddr at{HVD_TRY(kernel.field(*operations, create))};
  const auto function = kernel.symbols().at(at);
  if (!function) return {};
  if (function->name.starts_with("svm_")) amd_ = kernel_types_;
  if (function->name.starts_with("vmx_") || function->name.starts_with("vt_"))
    intel_ = kernel_types_;
  return {};
}

}  // namespace hvd::linux_guest
