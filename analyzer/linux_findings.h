// What stands out in a Linux guest, beside its crash.
#pragma once

#include <vector>

#include "analyzer/report.h"
#include "guest/linux/log.h"
#include "guest/linux/tasks.h"
#include "guest/linux/unwind.h"

namespace hvd {

/// CPUs whose place is unknown, and stacks (by number of the CPU) that end early.
std::vector<Finding> stack_findings(const linux_guest::Kernel& kernel,
                                    const std::vector<linux_guest::Stack>& stacks);

/// Tasks that cannot be interrupted, and a tainted kernel.
std::vector<Finding> task_findings(const std::vector<linux_guest::Task>& tasks);
std::vector<Finding> log_findings(const std::vector<linux_guest::LogRecord>& log);

}  // namespace hvd
