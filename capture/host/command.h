// hvdump-capture machine: the memory of a whole KVM host, split by owner, into one dump.
#pragma once

#include <string>
#include <vector>

#include "capture/options.h"

namespace hvd {

struct MachineOptions : CaptureOptions {
  std::string memory;                   // /proc/vmcore or a file that open_dump() reads
  std::string partition;                // of an .hvd: the guest that is a host
  std::vector<std::string> identities;  // to open it with
};

/// kDone when everything is in the dump, kDamaged when the dump was written and something is
/// missing.
CommandOutcome run_machine(const MachineOptions& options);

void add_machine_command(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
