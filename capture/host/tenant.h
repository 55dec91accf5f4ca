// One virtual machine of a dead host into its partition: its memory, its vCPUs, and the private
// memory of its VMM process.
#pragma once

#include "capture/session.h"
#include "guest/kvm_host/kvm_types.h"
#include "guest/kvm_host/virtual_machines.h"

namespace hvd {

/// Where a tenant's partition has the memory of its VMM process: process addresses from here on
/// (SPEC.md, "FACTS"). Beyond every physical address, below the end of what an .hvd can hold.
inline constexpr std::uint64_t kVmmBase = std::uint64_t{1} << 57;

/// The name that policies and people know it by: QEMU's -name, or "pid-N".
std::string tenant_name(const linux_guest::VirtualMachine& machine);

/// Writes it as the policy says: sealed, in the clear, stateless or not at all. An error ends the
/// whole capture; what goes wrong with this VM alone is recorded.
Result<void> write_tenant(CaptureSession& session, const linux_guest::Kernel& host,
                          const linux_guest::KvmTypes& kvm,
                          const linux_guest::VirtualMachine& machine, const std::string& name);

}  // namespace hvd
