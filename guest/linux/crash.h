// What happened: the kind of crash, its reason in the kernel's words, and the CPU that crashed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/linux/log.h"
#include "guest/linux/unwind.h"

namespace hvd::linux_guest {

struct Crash {
  std::string kind = "none";  // panic, oops, hang, none
  std::string reason;         // the panic message; before it, what led there
  std::optional<unsigned> cpu;
  std::optional<std::uint64_t> time_ns;  // since boot
};

/// From the panic_cpu variable and the log. A hang is a lockup that did not panic.
Crash find_crash(const Kernel& kernel, const std::vector<LogRecord>& log);

/// Of a crashing CPU's frames the names that tell crashes apart: without the panic and exception
/// machinery, compiler suffixes, and frames that are not reliable. At most five.
std::vector<std::string> bucket_frames(const Stack& stack, const Symbolizer& symbols);

/// A stable name for crashes of one cause: "linux-" and 16 hexadecimal digits over the kind and the
/// frames.
std::string bucket_name(const Crash& crash, const std::vector<std::string>& frames);

}  // namespace hvd::linux_guest
