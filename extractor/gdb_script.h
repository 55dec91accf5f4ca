// The gdb command file that goes beside a guest's core.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "guest/linux/crash.h"

namespace hvd {

/// Loads the vmlinux of that release and build (from $HVDUMP_VMLINUX, beside the core, or where
/// Debian and Fedora put debug files) moved by the KASLR offset, the modules' files (from
/// $HVDUMP_MODULES or there too) at their sections' addresses, then the core, and selects the CPU
/// that crashed.
std::string gdb_script(const linux_guest::Kernel& kernel, const linux_guest::Crash& crash,
                       const std::string& core);

/// `script` with each name replaced by its value. A value is never looked into: it may come from a
/// hostile guest, and hold another's name.
std::string with_values(std::string_view script,
                        const std::vector<std::pair<std::string_view, std::string>>& values);

/// gdb_script.py, without its first line.
extern const std::string_view kGdbPython;

}  // namespace hvd
