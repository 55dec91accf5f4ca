#include "guest/kvm_host/kvm_state.h"

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

using What = KvmState::What;

constexpr std::uint64_t kMaxFpuState = 64u << 10;  // what AMX adds is 8 KiB

class Reader {
 public:
  Reader(const Kernel& kernel, const KvmTypes& types) : kernel_(kernel), types_(types) {}

  Result<std::vector<KvmState>> of(const VirtualMachine& machine) {
    // Writes to devices that the VMM has not fetched yet; with CONFIG_KVM_MMIO only.
    if (types_.kvm().member("kvm", "coalesced_mmio_ring"))
      HVD_TRY(page(What::kMmio, 0, types_.kvm(), "kvm", machine.struct_at, "coalesced_mmio_ring"));
    for (const VirtualCpu& cpu : machine.cpus) HVD_TRY(vcpu(cpu.id, cpu.struct_at));
    return std::move(found_);
  }

 private:
  Result<VirtAddr> pointer(const Types& types, const char* type, VirtAddr at, const char* path) {
    const Member member = HVD_TRY(types.member(type, path));
    return VirtAddr{HVD_TRY(kernel_.field(at, member))};
  }
  // The page that a member points to, if to any.
  Result<void> page(What what, std::uint32_t cpu, const Types& types, const char* type, VirtAddr at,
                    const char* path) {
    const VirtAddr to = HVD_TRY(pointer(types, type, at, path));
    if (to.value != 0) found_.push_back({what, cpu, {to, kPageSize}});
    return {};
  }

  Result<void> vcpu(std::uint32_t id, VirtAddr at) {
    const Types& kvm = types_.kvm();
    HVD_TRY(page(What::kRun, id, kvm, "kvm_vcpu", at, "run"));
    HVD_TRY(page(What::kPortData, id, kvm, "kvm_vcpu", at, "arch.pio_data"));
    const VirtAddr fpu = HVD_TRY(pointer(kvm, "kvm_vcpu", at, "arch.guest_fpu.fpstate"));
    if (fpu.value != 0) {
      const Member size = HVD_TRY(kvm.member("fpstate", "size"));
      const Member registers = HVD_TRY(kvm.member("fpstate", "regs"));
      const std::uint64_t bytes = HVD_TRY(kernel_.field(fpu, size));
      if (bytes > kMaxFpuState)
        return Error{ErrorCode::kCorrupt,
                     "an FPU state claims " + std::to_string(bytes) + " bytes"};
      found_.push_back({What::kFpu, id, {fpu, registers.offset + bytes}});
    }
    // Without an interrupt controller in the kernel there is none.
    const VirtAddr apic = HVD_TRY(pointer(kvm, "kvm_vcpu", at, "arch.apic"));
    if (apic.value != 0) HVD_TRY(page(What::kLocalApic, id, kvm, "kvm_lapic", apic, "regs"));
    if (types_.amd()) return amd(id, at);
    if (types_.intel()) return intel(id, at);
    return Error{ErrorCode::kUnsupported, "it is neither AMD's virtualisation nor Intel's"};
  }

  // struct kvm_vcpu is the beginning of both structures. The first member is of the guest, the
  // second of a guest that it runs itself.
  Result<void> amd(std::uint32_t id, VirtAddr at) {
    const Types& amd = *types_.amd();
    for (const char* path : {"vmcb01.ptr", "nested.vmcb02.ptr"})
      HVD_TRY(page(What::kVmcb, id, amd, "vcpu_svm", at, path));
    return {};
  }
  Result<void> intel(std::uint32_t id, VirtAddr at) {
    const Types& intel = *types_.intel();
    for (const char* path : {"vmcs01.vmcs", "vmcs01.shadow_vmcs", "nested.vmcs02.vmcs"})
      HVD_TRY(page(What::kVmcs, id, intel, "vcpu_vmx", at, path));
    return {};
  }

  const Kernel& kernel_;
  const KvmTypes& types_;
  std::vector<KvmState> found_;
};

}  // namespace

Result<std::vector<KvmState>> read_kvm_state(const Kernel& kernel, const KvmTypes& types,
                                             const VirtualMachine& machine) {
  return Reader(kernel, types).of(machine);
}

}  // namespace hvd::linux_guest
