// Triage: one report about everything in a dump (analyzer/schema/hvdump-triage-1.json).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/open_dump.h"

namespace hvd {

struct TriageOptions {
  std::string partition;             // empty: all
  std::vector<std::string> symbols;  // folders or files with DWARF
};

/// The report as JSON. Never fails for what is in the dump: damage and absence are part of the
/// report.
nlohmann::json triage(const OpenedDump& dump, const TriageOptions& options);

/// The same report for people: plain text for a terminal or a mail, or one HTML page without
/// outside resources.
std::string text_report(const nlohmann::json& report);
std::string html_report(const nlohmann::json& report);

}  // namespace hvd
