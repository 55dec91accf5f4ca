// Source lines for addresses of a Linux kernel and its modules.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "guest/debuginfo/line_table.h"
#include "guest/linux/modules.h"

namespace hvd {

class LinuxLines {
 public:
  /// Looks for the vmlinux and the modules' files in `places`; adds to `problems`, now and later,
  /// why there is no vmlinux and which files are damaged. Both references must outlive the object.
  LinuxLines(const linux_guest::Kernel& kernel, const std::vector<std::string>& places,
             std::vector<std::string>& problems);

  /// The frames at `at`, innermost first, which is in `module`, or in the kernel itself (null).
  /// Modules' files are opened when first needed.
  std::vector<SourceFrame> at(VirtAddr at, const linux_guest::Module* module) const;

 private:
  // A damaged file is reported once and then given up.
  std::vector<SourceFrame> look_up(std::unique_ptr<LineTable>& table, VirtAddr at) const;
  std::unique_ptr<LineTable> open_module(const linux_guest::Module& module) const;

  const linux_guest::Kernel& kernel_;
  std::vector<std::string>& problems_;
  mutable std::unique_ptr<LineTable> vmlinux_;
  std::multimap<std::string, std::string> module_files_;
  mutable std::map<const linux_guest::Module*, std::unique_ptr<LineTable>> modules_;
};

}  // namespace hvd
