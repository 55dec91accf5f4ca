// The partition of a dead host's processes that run no VM, for whom the policy names to read it.
#pragma once

#include "capture/session.h"
#include "guest/kvm_host/host.h"

namespace hvd {

/// Writes the partition `host-user`, sealed to the policy's recipients for it; nothing without any.
/// When it cannot be told whose a page is, the partition says so and is empty. An error ends the
/// whole capture.
Result<void> write_host_user(CaptureSession& session, const linux_guest::Host& host);

}  // namespace hvd
