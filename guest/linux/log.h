// The kernel log out of its lockless ring buffer (kernel/printk/printk_ringbuffer.c, since
// Linux 5.10).
#pragma once

#include <string>
#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct LogRecord {
  std::uint64_t time_ns = 0;  // since boot
  unsigned level = 6;         // syslog severity: 0 emergency ... 7 debug
  std::string text;           // may hold several lines
};

/// Oldest first. Layout from VMCOREINFO, so that no type information is needed. kNotFound when the
/// kernel has no such buffer; damaged records are skipped and counted in `problems`.
Result<std::vector<LogRecord>> read_log(const Kernel& kernel, std::vector<std::string>& problems);

}  // namespace hvd::linux_guest
