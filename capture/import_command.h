// hvdump-capture import: an existing dump of one guest becomes a dump with one partition.
#pragma once

#include <string>

#include "capture/options.h"

namespace hvd {

struct ImportOptions : CaptureOptions {
  std::string file;
  std::string name;
};

/// A file that no reader knows and that is whole pages is taken for raw memory, which is said.
CommandOutcome run_import(const ImportOptions& options);
void add_import_command(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
