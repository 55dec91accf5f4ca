// Findings where a fact of the host explains a guest's: what a vCPU's thread waits for, memory that
// failed under it.
#pragma once

#include <vector>

#include "analyzer/report.h"

namespace hvd {

/// Looks at the partitions of a report: adds to each KVM host's CPUs which vCPU they were running,
/// and to its guests, by name, what the host knows of them.
void relate_host_and_guests(std::vector<PartitionReport>& partitions);

}  // namespace hvd
