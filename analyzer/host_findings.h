// Findings where a fact of the host explains a guest's: what a vCPU's thread waits for, memory that
// failed under it.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace hvd {

/// Looks at the partitions of a report (schema hvdump-triage/1): adds to each KVM host's CPUs which
/// vCPU they were running, and to its guests', by name, what the host knows of them.
void relate_host_and_guests(nlohmann::json& partitions);

}  // namespace hvd
