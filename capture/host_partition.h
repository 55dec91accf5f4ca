// The hypervisor partition of a dead KVM host: what of its memory is the kernel's own.
#pragma once

#include "capture/session.h"
#include "guest/linux/host_cpus.h"

namespace hvd {

/// Writes the partition `hypervisor` at the policy's level. When the host cannot be understood well
/// enough to tell whose a page is, none is written. An error ends the whole capture.
Result<void> write_host(CaptureSession& session, const linux_guest::Kernel& host,
                        const std::vector<linux_guest::Module>& modules,
                        const std::vector<linux_guest::VirtualMachine>& machines,
                        const linux_guest::VmmProcesses& vmms);

}  // namespace hvd
