// Triage: one report about everything in a dump.
#pragma once

#include <string>
#include <vector>

#include "analyzer/report.h"
#include "formats/open_dump.h"

namespace hvd {

struct TriageOptions {
  std::vector<std::string> symbols;  // folders or files with DWARF or PDBs
};

/// Never fails for what is in the dump: damage and absence are part of the report.
Report triage(const OpenedDump& dump, const TriageOptions& options);

}  // namespace hvd
