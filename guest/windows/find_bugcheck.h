// Where a Windows kernel says why it stopped; bugcheck.h says what that means.
#pragma once

#include <optional>

#include "guest/windows/kernel.h"

namespace hvd::windows {

/// Out of the kernel's memory, else out of the dump's header, else as reported to the hypervisor.
/// Needs of `kernel` its memory, header and debugger data.
std::optional<BugCheck> find_bugcheck(const Kernel& kernel);

}  // namespace hvd::windows
