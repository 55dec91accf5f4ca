// Guest: a partition's operating system, whichever it is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analyzer/linux_report.h"
#include "analyzer/windows_report.h"

namespace hvd {

struct Guest {
  std::unique_ptr<LinuxGuest> linux_os;      // either this
  std::unique_ptr<WindowsGuest> windows_os;  // or this
};

/// Recognises it; `symbols` are places with debug information, looked at when needed. `image` must
/// outlive the result. kNotFound when it is none that is known.
Result<Guest> open_guest(const Image& image, const std::vector<std::string>& symbols);

}  // namespace hvd
