// What the CPUs of a dead host were on, and what of that is the kernel's own: registers and stacks
// hold what processes and guests had in their registers until the kernel has put it away.
#pragma once

#include <vector>

#include "guest/kvm_host/host.h"
#include "guest/linux/tasks.h"

namespace hvd::linux_guest {

/// Of the registers of `cpu` what may be seen. A CPU in user mode has that process's, one at the
/// kernel's very entry or exit may still have them, and one in the kernel on behalf of a VMM may
/// have the guest's: then where it was is all there is. Null when its registers are not known.
std::optional<Registers> visible_registers(const Host& host, unsigned cpu);

/// Where a stack's live part begins.
struct LivePart {
  VirtAddr begin;
  bool known = true;  // or else the whole stack may be live, and anything be in it
};

/// Of the kernel stack [begin, end) of `task`.
LivePart live_part(const Kernel& kernel, const Task& task, VirtAddr begin, VirtAddr end);

}  // namespace hvd::linux_guest
