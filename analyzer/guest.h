// Guest: a partition's operating system, whichever it is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/linux_report.h"
#include "analyzer/windows_report.h"

namespace hvd {

struct Guest {
  std::unique_ptr<LinuxGuest> linux_os;      // either this
  std::unique_ptr<WindowsGuest> windows_os;  // or this

  nlohmann::json cpus_json() const;
  nlohmann::json tasks_json(std::optional<std::int64_t> only_id) const;
  nlohmann::json modules_json() const;
  /// What could not be read, and which symbols could not be had.
  std::vector<std::string> problems() const;
  Result<VirtAddr> symbol(const std::string& name) const;
  /// Of the kernel's memory, all or nothing.
  Result<void> read(VirtAddr at, MutableBytes out) const;
};

/// Recognises it; `symbols` are places with debug information, looked at when needed. `image` must
/// outlive the result. kNotFound when it is none that is known.
Result<Guest> open_guest(const Image& image, const std::vector<std::string>& symbols);

}  // namespace hvd
