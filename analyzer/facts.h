// What the capturing agent wrote down beside the memory, as a report shows it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analyzer/report.h"
#include "guest/kvm_host/virtual_machines.h"

namespace hvd {

/// What a guest reported to its hypervisor when it panicked (pvpanic, Hyper-V's crash registers);
/// known whatever its memory looks like.
struct ReportedPanic {
  std::string reason = "the guest reported a panic to the hypervisor";
  std::optional<unsigned> cpu;        // the one that reported it
  std::vector<std::string> evidence;  // the reports, printable
};

std::optional<ReportedPanic> reported_panic(const Facts& facts);

AgentReport agent_report(const std::string& agent);

/// Of a VMM process: the facts that the schema's member `hypervisor` shows.
JsonObject vmm_facts(const Facts& facts);

/// Gives names and UUIDs to the machines that have none, by the pids of their VMMs. A hypervisor
/// image lacks the VMMs' command lines, which are the tenants'; the agent that split it wrote down
/// who they were.
void name_machines(const Facts& facts, std::vector<linux_guest::VirtualMachine>& machines);

}  // namespace hvd
