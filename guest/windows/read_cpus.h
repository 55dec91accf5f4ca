// The CPUs of a Windows kernel: its own list of them, and whose registers are whose.
#pragma once

#include <vector>

#include "guest/windows/kernel.h"

namespace hvd::windows {

/// By the kernel's processor block, or without it one for each set of registers in the image. Needs
/// of `kernel` its memory, header and debugger data. The registers stay the image's.
std::vector<Cpu> read_cpus(const Kernel& kernel);

}  // namespace hvd::windows
