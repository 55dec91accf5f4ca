#include "guest/kvm_host/kvm_registers.h"

#include <array>

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMaxHostCpu = 8192;

// enum kvm_reg: the names of the indices into kvm_vcpu_arch.regs.
constexpr std::array<std::pair<Reg, std::string_view>, 17> kGeneral{{{Reg::kRax, "VCPU_REGS_RAX"},
                                                                     {Reg::kRcx, "VCPU_REGS_RCX"},
                                                                     {Reg::kRdx, "VCPU_REGS_RDX"},
                                                                     {Reg::kRbx, "VCPU_REGS_RBX"},
                                                                     {Reg::kRsp, "VCPU_REGS_RSP"},
                                                                     {Reg::kRbp, "VCPU_REGS_RBP"},
                                                                     {Reg::kRsi, "VCPU_REGS_RSI"},
                                                                     {Reg::kRdi, "VCPU_REGS_RDI"},
                                                                     {Reg::kR8, "VCPU_REGS_R8"},
                                                                     {Reg::kR9, "VCPU_REGS_R9"},
                                                                     {Reg::kR10, "VCPU_REGS_R10"},
                                                                     {Reg::kR11, "VCPU_REGS_R11"},
                                                                     {Reg::kR12, "VCPU_REGS_R12"},
                                                                     {Reg::kR13, "VCPU_REGS_R13"},
                                                                     {Reg::kR14, "VCPU_REGS_R14"},
                                                                     {Reg::kR15, "VCPU_REGS_R15"},
                                                                     {Reg::kRip, "VCPU_REGS_RIP"}}};

// Control registers that KVM caches, each valid while its bit of regs_avail is set; efer and cr2
// always are.
struct Cached {
  Reg reg;
  const char* member;
  const char* bit;  // null: always valid
};
constexpr std::array<Cached, 5> kCached{{{Reg::kCr0, "arch.cr0", "VCPU_EXREG_CR0"},
                                         {Reg::kCr3, "arch.cr3", "VCPU_EXREG_CR3"},
                                         {Reg::kCr4, "arch.cr4", "VCPU_EXREG_CR4"},
                                         {Reg::kCr2, "arch.cr2", nullptr},
                                         {Reg::kEfer, "arch.efer", nullptr}}};

// struct vmcb_save_area: what the CPU saves when it leaves the guest (AMD APM volume 2, appendix
// B).
constexpr std::array<std::pair<Reg, const char*>, 27> kSaved{
    {{Reg::kRax, "save.rax"},
     {Reg::kRsp, "save.rsp"},
     {Reg::kRip, "save.rip"},
     {Reg::kRflags, "save.rflags"},
     {Reg::kCr0, "save.cr0"},
     {Reg::kCr2, "save.cr2"},
     {Reg::kCr3, "save.cr3"},
     {Reg::kCr4, "save.cr4"},
     {Reg::kEfer, "save.efer"},
     {Reg::kFsBase, "save.fs.base"},
     {Reg::kGsBase, "save.gs.base"},
     {Reg::kKernelGsBase, "save.kernel_gs_base"},
     {Reg::kCs, "save.cs.selector"},
     {Reg::kSs, "save.ss.selector"},
     {Reg::kDs, "save.ds.selector"},
     {Reg::kEs, "save.es.selector"},
     {Reg::kFs, "save.fs.selector"},
     {Reg::kGs, "save.gs.selector"},
     {Reg::kLdtr, "save.ldtr.selector"},
     {Reg::kTr, "save.tr.selector"},
     {Reg::kLdtrBase, "save.ldtr.base"},
     {Reg::kTrBase, "save.tr.base"},
     {Reg::kGdtrBase, "save.gdtr.base"},
     {Reg::kGdtrLimit, "save.gdtr.limit"},
     {Reg::kIdtrBase, "save.idtr.base"},
     {Reg::kIdtrLimit, "save.idtr.limit"},
     {Reg::kCr8, "control.int_ctl"}}};
constexpr std::uint64_t kTaskPriority = 0xf;  // V_TPR_MASK of int_ctl

}  // namespace

Result<VcpuLayout> VcpuLayout::from(const Kernel& kernel, const KvmTypes& types) {
  VcpuLayout out(kernel);
  const Types& kvm = types.kvm();
  out.id_ = HVD_TRY(kvm.member("kvm_vcpu", "vcpu_id"));
  out.cpu_ = HVD_TRY(kvm.member("kvm_vcpu", "cpu"));
  out.mode_ = HVD_TRY(kvm.member("kvm_vcpu", "mode"));
  out.pid_ = HVD_TRY(kvm.member("kvm_vcpu", "pid"));
  out.pid_number_ = HVD_TRY(kvm.member("pid", "numbers"));
  out.regs_ = HVD_TRY(kvm.member("kvm_vcpu", "arch.regs"));
  out.available_ = HVD_TRY(kvm.member("kvm_vcpu", "arch.regs_avail"));
  if (const auto mode = kvm.enumerator("IN_GUEST_MODE")) out.in_guest_mode_ = *mode;
  for (const auto& [reg, name] : kGeneral) {
    const std::uint64_t index = HVD_TRY(kvm.enumerator(name));
    if (index >= out.regs_.elements)
      return Error{ErrorCode::kUnsupported, "kvm_vcpu_arch.regs has an unknown layout"};
    out.general_.emplace_back(reg, index);
  }
  for (const Cached& cached : kCached) {
    const auto member = kvm.member("kvm_vcpu", cached.member);
    const auto bit = cached.bit ? kvm.enumerator(cached.bit) : Result<std::uint64_t>(64u);
    if (!member || !bit) continue;
    out.cached_.emplace_back(cached.reg, *member);
    out.cached_bits_.push_back(*bit);
  }
  if (const Types* intel = types.intel()) {
    const auto value = intel->member("vcpu_vmx", "msr_guest_kernel_gs_base");
    const auto loaded = intel->member("vcpu_vmx", "guest_state_loaded");
    if (value && loaded) out.swapped_gs_ = *value, out.loaded_ = *loaded;
  }
  const Types* amd = types.amd();
  if (!amd) return out;
  out.vmcb_ = HVD_TRY(amd->member("vcpu_svm", "vmcb"));
  for (const auto& [reg, path] : kSaved) {
    const Member member = HVD_TRY(amd->member("vmcb", path));
    out.saved_.emplace_back(reg, member);
  }
  return out;
}

Result<void> VcpuLayout::read_general(VirtAddr vcpu, Registers& out) const {
  const std::uint64_t available = HVD_TRY(kernel_->field(vcpu, available_));
  for (const auto& [reg, index] : general_) {
    if ((available >> index) & 1)
      out.set(reg, HVD_TRY(kernel_->memory().read_u64(vcpu + regs_.offset + index * 8)));
  }
  for (std::size_t i = 0; i < cached_.size(); ++i) {
    const std::uint64_t bit = cached_bits_[i];
    if (bit < 64 && ((available >> bit) & 1) == 0) continue;
    out.set(cached_[i].first, HVD_TRY(kernel_->field(vcpu, cached_[i].second)));
  }
  return {};
}

// While the guest runs, the VMCB is newer than KVM's copies; a host that panics leaves the guest by
// an NMI before KVM copies anything. When KVM has emulated an instruction instead, its copies are
// written to the VMCB at the next entry only: then rip in `regs` is the newer one. Both are of the
// same guest, one instruction apart.
Result<void> VcpuLayout::read_vmcb(VirtAddr vcpu, Registers& out) const {
  const VirtAddr vmcb{HVD_TRY(kernel_->field(vcpu, *vmcb_))};
  for (const auto& [reg, member] : saved_) {
    std::uint64_t value = HVD_TRY(kernel_->field(vmcb, member));
    if (reg == Reg::kCr8) value &= kTaskPriority;
    out.set(reg, value);
  }
  return {};
}

// The one MSR that KVM switches itself; while the guest's is in the CPU, the copy is old
// (vmx_prepare_switch_to_host).
Result<void> VcpuLayout::read_vmx(VirtAddr vcpu, Registers& out) const {
  if (HVD_TRY(kernel_->field(vcpu, *loaded_)) != 0) return {};
  out.set(Reg::kKernelGsBase, HVD_TRY(kernel_->field(vcpu, *swapped_gs_)));
  return {};
}

Result<VirtualCpu> VcpuLayout::read(VirtAddr vcpu) const {
  VirtualCpu out;
  out.struct_at = vcpu;
  out.id = static_cast<std::uint32_t>(HVD_TRY(kernel_->field(vcpu, id_)));
  out.registers.id = out.id;
  // -1 while it is on none.
  const std::uint64_t cpu = HVD_TRY(kernel_->field(vcpu, cpu_));
  if (cpu < kMaxHostCpu) out.host_cpu = static_cast<unsigned>(cpu);
  out.in_guest = HVD_TRY(kernel_->field(vcpu, mode_)) == in_guest_mode_;
  // struct pid's first number is the one of the initial namespace.
  if (const VirtAddr pid{HVD_TRY(kernel_->field(vcpu, pid_))}; pid.value != 0)
    out.pid =
        static_cast<std::int32_t>(HVD_TRY(kernel_->memory().read_u32(pid + pid_number_.offset)));
  const auto registers = [&]() -> Result<void> {
    HVD_TRY(read_general(vcpu, out.registers));
    if (vmcb_) HVD_TRY(read_vmcb(vcpu, out.registers));
    if (loaded_) HVD_TRY(read_vmx(vcpu, out.registers));
    return {};
  };
  // A hypervisor image has no guest's registers: those are then unknown.
  if (auto done = registers(); !done && done.error().code != ErrorCode::kNotCaptured)
    return done.error();
  return out;
}

}  // namespace hvd::linux_guest
