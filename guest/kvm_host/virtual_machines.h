// The virtual machines of a KVM host, out of the host's memory alone (include/linux/kvm_host.h,
// arch/x86/include/asm/kvm_host.h, arch/x86/include/asm/svm.h).
//
// `vm_list` and the structures are known by the symbols and BTF of the modules of KVM, or of the
// kernel when it is built in; what the CPU itself saves of an AMD guest is in the VMCB, which
// kvm_amd's BTF describes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/linux/modules.h"

namespace hvd::linux_guest {

/// A piece of a guest's memory and where its VMM process has it (struct kvm_memory_slot).
struct MemorySlot {
  PhysRange range;  // guest-physical
  VirtAddr host;    // in the VMM process
  bool read_only = false;
  VirtAddr struct_at;  // struct kvm_memory_slot
};

struct VirtualCpu {
  VirtAddr struct_at;  // struct kvm_vcpu
  std::uint32_t id = 0;
  std::optional<unsigned> host_cpu;  // the one it was last loaded on
  bool in_guest = false;             // was running the guest's code
  std::int32_t pid = 0;              // of its thread on the host; 0 when not known
  Registers registers;               // those that are known; id as above
};

struct VirtualMachine {
  VirtAddr struct_at;                     // struct kvm
  std::int32_t pid = 0;                   // of the VMM process
  std::vector<std::string> command_line;  // of the VMM process; empty when it cannot be read
  std::string name, uuid;                 // out of QEMU's -name and -uuid; may be empty
  VirtAddr mm;                            // struct mm_struct of the VMM process
  PhysAddr page_table_root;               // of the VMM process
  bool encrypted = false;                 // by AMD SEV: what the host has of its memory is noise
  std::vector<MemorySlot> slots;          // of address space 0, by guest-physical address
  std::vector<VirtualCpu> cpus;
};

/// All of `vm_list`; none when the kernel has no KVM. Damage is told in `problems`; what was read
/// stays.
std::vector<VirtualMachine> read_virtual_machines(const Kernel& kernel,
                                                  const std::vector<Module>& modules,
                                                  std::vector<std::string>& problems);

}  // namespace hvd::linux_guest
