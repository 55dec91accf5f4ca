// What happened to a Windows guest: its bug check, the bucket, and what stands out beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analyzer/facts.h"
#include "analyzer/report.h"
#include "guest/windows/symbolizer.h"

namespace hvd {

/// "ntoskrnl.exe" -> "nt", "mydriver.sys" -> "mydriver": as WinDbg writes a module.
std::string short_module_name(const std::string& module);

/// `crashed`: the CPU that crashed, when that is known.
CrashReport windows_crash(const windows::Kernel& kernel, const windows::Symbolizer& symbolizer,
                          const std::optional<ReportedPanic>& panic, const CpuReport* crashed);

/// The bug check, the module that failed, how Windows was found, unloaded drivers, the clock.
std::vector<Finding> windows_findings(const windows::Kernel& kernel,
                                      const windows::Symbolizer& symbolizer);

}  // namespace hvd
