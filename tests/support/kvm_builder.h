// KvmBuilder: a KVM host that never ran, with KVM built into its kernel: one VM of one vCPU.
#pragma once

#include "tests/support/linux_builder.h"

namespace hvd {

class KvmBuilder {
 public:
  enum class Vendor { kAmd, kIntel, kNone };

  /// Where what KVM has of the guest is, each in a page of its own.
  struct State {
    VirtAddr run, port_data, fpu, local_apic, vmcb, vmcs;
  };
  static constexpr std::uint64_t kFpuBytes = 4096 + 512;
  static constexpr std::uint64_t kArch = 64, kAvailable = 136;

  KvmBuilder(LinuxBuilder& builder, Vendor vendor) : builder_(builder) {
    const VirtAddr list = builder.place(16, "vm_list");
    builder.empty_list(list);
    const VirtAddr operations = builder.place(8, "kvm_x86_ops");
    const VirtAddr create{LinuxBuilder::kText + 0x1000};
    builder.symbol(vendor == Vendor::kAmd ? "svm_vcpu_create" : "vmx_vcpu_create", create);
    if (vendor != Vendor::kNone) builder.write_u64(operations, create.value);

    machine = builder.place(256, "", 64);
    vcpu = builder.place(1024, "", 64);
    builder.insert_before(list, machine + 24);
    mm = builder.place(64);
    builder.write_u64(machine, mm.value);
    builder.write_u32(machine + 40, 77);  // userspace_pid
    // The process has the kernel's own page tables, so that what is at a kernel address is there.
    builder.write_u64(mm + 32, linux_guest::kKernelTextMap + 0x10000);
    const std::string line{"qemu\0-name\0guest=alpha,debug-threads=on\0-uuid\0u-u-i-d\0", 53};
    const VirtAddr text = builder.place(as_bytes(line));
    builder.write_u64(mm + 40, text.value);
    builder.write_u64(mm + 48, text.value + line.size());
    memory();
    one_vcpu();
  }

  static Bytes types() {
    BtfBuilder btf;
    add_kernel_types(btf);
    btf.structure("rb_node", 24, {{"rb_right", "ptr", 8}, {"rb_left", "ptr", 16}});
    btf.structure("kvm_memslots", 32, {{"gfn_tree", "ptr", 8}, {"node_idx", "u32", 16}});
    btf.structure("kvm_memory_slot", 80,
                  {{"gfn_node", "rb_node[2]", 0},
                   {"base_gfn", "u64", 48},
                   {"npages", "u64", 56},
                   {"flags", "u32", 64},
                   {"userspace_addr", "u64", 72}});
    btf.structure("upid", 16, {{"nr", "u32", 0}});
    btf.structure("pid", 32, {{"numbers", "upid[1]", 8}});
    btf.structure("kvm", 256,
                  {{"mm", "ptr", 0},
                   {"memslots", "ptr[2]", 8},
                   {"vm_list", "list_head", 24},
                   {"userspace_pid", "u32", 40},
                   {"vcpu_array", "xarray", 48}});
    btf.structure("fpregs_state", 64, {{"fsave", "u32", 0}});
    btf.structure("fpstate", 128, {{"size", "u32", 0}, {"regs", "fpregs_state", 64}});
    btf.structure("fpu_guest", 8, {{"fpstate", "ptr", 0}});
    btf.structure("kvm_lapic", 16, {{"regs", "ptr", 8}});
    btf.structure("kvm_vcpu_arch", 256,
                  {{"regs", "u64[17]", 0},
                   {"regs_avail", "u32", kAvailable},
                   {"cr3", "u64", 144},
                   {"efer", "u64", 152},
                   {"pio_data", "ptr", 160},
                   {"guest_fpu", "fpu_guest", 168},
                   {"apic", "ptr", 176}});
    btf.structure("kvm_vcpu", 512,
                  {{"vcpu_id", "u32", 0},
                   {"cpu", "u32", 4},
                   {"mode", "u32", 8},
                   {"pid", "ptr", 16},
                   {"run", "ptr", 24},
                   {"arch", "kvm_vcpu_arch", kArch}});
    std::vector<std::pair<std::string, int>> indices;
    for (const char* name : {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9",
                             "R10", "R11", "R12", "R13", "R14", "R15", "RIP"})
      indices.emplace_back("VCPU_REGS_" + std::string(name), indices.size());
    for (const char* name : {"CR0", "CR3", "CR4"})
      indices.emplace_back("VCPU_EXREG_" + std::string(name), indices.size());
    btf.enumeration("kvm_reg", indices);
    btf.enumeration("vcpu_mode", {{"OUTSIDE_GUEST_MODE", 0}, {"IN_GUEST_MODE", 1}});
    btf.structure("kvm_x86_ops", 8, {{"vcpu_create", "ptr", 0}});
    vendors(btf);
    return btf.build();
  }

  VirtAddr machine, mm, vcpu, slot;
  State state;

 private:
  static void vendors(BtfBuilder& btf) {
    std::vector<BtfBuilder::Field> saved;
    btf.structure("vmcb_seg", 16,
                  {{"selector", "u16", 0}, {"limit", "u32", 4}, {"base", "u64", 8}});
    std::uint32_t at = 0;
    for (const char* name : {"es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"})
      saved.push_back({name, "vmcb_seg", 16 * at++});
    at = 160;
    for (const char* name :
         {"rax", "rsp", "rip", "rflags", "cr0", "cr2", "cr3", "cr4", "efer", "kernel_gs_base"}) {
      saved.push_back({name, "u64", at});
      at += 8;
    }
    btf.structure("vmcb_save_area", 512, saved);
    btf.structure("vmcb_control_area", 64, {{"int_ctl", "u32", 0}});
    btf.structure("vmcb", 1024,
                  {{"control", "vmcb_control_area", 0}, {"save", "vmcb_save_area", 64}});
    btf.structure("kvm_vmcb_info", 16, {{"ptr", "ptr", 0}});
    btf.structure("svm_nested_state", 64, {{"vmcb02", "kvm_vmcb_info", 0}});
    btf.structure("vcpu_svm", 1024,
                  {{"vcpu", "kvm_vcpu", 0},
                   {"vmcb", "ptr", 512},
                   {"vmcb01", "kvm_vmcb_info", 520},
                   {"nested", "svm_nested_state", 536}});
    btf.structure("loaded_vmcs", 32, {{"vmcs", "ptr", 0}, {"shadow_vmcs", "ptr", 8}});
    btf.structure("nested_vmx", 64, {{"vmcs02", "loaded_vmcs", 0}});
    btf.structure("vcpu_vmx", 1024,
                  {{"vcpu", "kvm_vcpu", 0},
                   {"guest_state_loaded", "u8", 600},
                   {"msr_guest_kernel_gs_base", "u64", 608},
                   {"vmcs01", "loaded_vmcs", 640},
                   {"nested", "nested_vmx", 672}});
  }

  void memory() {
    const VirtAddr slots = builder_.place(32);
    slot = builder_.place(80);
    builder_.write_u64(machine + 8, slots.value);
    builder_.write_u32(slots + 16, 1);  // the second set of nodes
    builder_.write_u64(slots + 8, slot.value + 24);
    builder_.write_u64(slot + 48, 0x100);
    builder_.write_u64(slot + 56, 0x40);
    builder_.write_u64(slot + 72, 0x7f0000000000);
  }
  void one_vcpu() {
    builder_.write_u64(machine + 56, vcpu.value);  // the only entry of the xarray
    const auto page = [&](VirtAddr pointer) {
      const VirtAddr at = builder_.place(kPageSize, "", kPageSize);
      builder_.write_u64(pointer, at.value);
      return at;
    };
    const VirtAddr pid = builder_.place(32);
    builder_.write_u32(pid + 8, 78);
    builder_.write_u64(vcpu + 16, pid.value);
    builder_.write_u32(vcpu + 8, 1);
    state.run = page(vcpu + 24);
    state.port_data = page(vcpu + kArch + 160);
    state.fpu = builder_.place(2 * kPageSize, "", kPageSize);
    builder_.write_u64(vcpu + kArch + 168, state.fpu.value);
    builder_.write_u32(state.fpu, kFpuBytes);
    const VirtAddr apic = builder_.place(16);
    builder_.write_u64(vcpu + kArch + 176, apic.value);
    state.local_apic = page(apic + 8);
    state.vmcb = page(vcpu + 520);
    builder_.write_u64(vcpu + 512, state.vmcb.value);
    state.vmcs = page(vcpu + 640);
  }

  LinuxBuilder& builder_;
};

}  // namespace hvd
