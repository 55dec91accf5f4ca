// The report as plain text, for a terminal or a mail.
#pragma once

#include <string>

#include "analyzer/report.h"

namespace hvd {

/// No control character but tab and newline is in the text, whatever strings the report holds: a
/// terminal obeys what it prints.
std::string text_report(const Report& report);

}  // namespace hvd
