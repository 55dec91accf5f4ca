// hvdump-capture qemu: running QEMU guests into one dump.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct QemuOptions {
  std::vector<std::string> vms;          // NAME=QMP_SOCKET
  std::vector<std::string> recipients;   // NAME=age1...; NAME may be * or hypervisor
  std::vector<std::string> passphrases;  // NAME=FILE
  std::vector<std::string> stateless;    // NAME
  std::string policy;                    // file
  std::string signing_key;               // file
  std::string output;
  unsigned threads = 0;
};

/// kDone when everything asked for is in the dump, kDamaged when the dump was written and something
/// is missing.
CommandOutcome run_qemu(const QemuOptions& options);

void add_qemu_command(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
