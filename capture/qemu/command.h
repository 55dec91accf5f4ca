// hvdump-capture qemu: running QEMU guests into one dump.
#pragma once

#include <string>
#include <vector>

#include "capture/options.h"

namespace hvd {

struct QemuOptions : CaptureOptions {
  std::vector<std::string> vms;  // NAME=QMP_SOCKET
};

/// kDone when everything asked for is in the dump, kDamaged when the dump was written and something
/// is missing.
CommandOutcome run_qemu(const QemuOptions& options);

void add_qemu_command(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
