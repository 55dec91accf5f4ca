// The report as one HTML page, for browsers and ticket systems.
#pragma once

#include <string>

#include "analyzer/report.h"

namespace hvd {

/// Loads no outside resources. Whatever strings the report holds, none of them becomes markup or a
/// control character.
std::string html_report(const Report& report);

}  // namespace hvd
