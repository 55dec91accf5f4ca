// The hypervisor partition of a dead KVM host: what of its memory is the kernel's own.
#pragma once

#include "capture/session.h"
#include "guest/kvm_host/host.h"

namespace hvd {

/// Writes the partition `hypervisor` at the policy's level. When the host cannot be understood well
/// enough to tell whose a page is, none is written. An error ends the whole capture.
Result<void> write_host(CaptureSession& session, const linux_guest::Host& host);

}  // namespace hvd
