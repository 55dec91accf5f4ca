#include "analyzer/report.h"

#include <utility>

#include "base/text.h"

namespace hvd {

std::string_view name_of(Severity severity) {
  switch (severity) {
    case Severity::kInfo: return "info";
    case Severity::kWarning: return "warning";
    case Severity::kError: return "error";
  }
  return "error";
}

std::string_view name_of(OsFamily family) {
  switch (family) {
    case OsFamily::kLinux: return "linux";
    case OsFamily::kWindows: return "windows";
    case OsFamily::kUnknown: break;
  }
  return "unknown";
}

Finding finding(Severity severity, std::string rule, const std::string& text,
                std::vector<std::string> evidence) {
  return {severity, std::move(rule), printable(text), std::move(evidence)};
}

}  // namespace hvd
