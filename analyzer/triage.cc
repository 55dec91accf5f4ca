#include "analyzer/triage.h"

#include "analyzer/facts.h"
#include "analyzer/guest.h"
#include "analyzer/host_findings.h"
#include "analyzer/memory_report.h"
#include "analyzer/report_pieces.h"
#include "base/text.h"

namespace hvd {
namespace {

enum class Vms { kReport, kIgnore };

DumpInfo dump_info(const OpenedDump& dump) {
  DumpInfo out;
  out.id = dump.id;
  if (dump.created_ns != 0)
    out.created = utc(static_cast<std::time_t>(dump.created_ns / 1'000'000'000));
  out.agent = agent_report(dump.agent);
  out.complete = dump.complete;
  for (const std::string& problem : dump.problems) out.problems.push_back(printable(problem));
  return out;
}

// What is known without looking into the memory.
PartitionReport begin_partition(const Image& image) {
  PartitionReport out;
  out.name = printable(image.name);
  out.role = image.role;
  out.state = image.state;
  out.state_reason = printable(image.state_reason);
  out.locked = image.locked;
  if (image.memory) out.memory = memory_report(*image.memory);
  for (const std::string& problem : image.problems) {
    out.findings.push_back(image.locked ? finding(Severity::kInfo, "sealed", problem)
                                        : finding(Severity::kWarning, "damage", problem));
  }
  return out;
}

void report_unknown_guest(const Error& error, const std::optional<ReportedPanic>& panic,
                          PartitionReport& partition) {
  partition.findings.push_back(finding(Severity::kWarning, "os-unknown",
                                       "no operating system was recognised: " + error.message));
  if (!panic) return;
  partition.crash.kind = "panic";
  partition.crash.reason = panic->reason;
  partition.crash.cpu = panic->cpu;
}

// Adds the partition and, of a KVM host, its VMs: one level of them.
void report_partition(const Image& image, const TriageOptions& options, Vms vms, Report& report) {
  PartitionReport partition = begin_partition(image);
  std::unique_ptr<Guest> guest;
  if (image.memory && !image.memory->ranges().empty()) {
    if (is_process(image)) {
      // Of a VMM process: its threads are its CPUs, and its agent has looked at them.
      partition.hypervisor = vmm_facts(image.facts);
    } else if (image.role != Role::kHypervisor || image.name != kHostUserName) {
      const auto panic = reported_panic(image.facts);
      if (panic)
        partition.findings.push_back(
            finding(Severity::kInfo, "panic-reported", panic->reason, panic->evidence));
      auto opened = open_guest(image, options.symbols);
      if (opened) {
        guest = std::move(*opened);
        guest->report(panic, partition);
      } else {
        report_unknown_guest(opened.error(), panic, partition);
      }
    }
  }
  report.partitions.push_back(std::move(partition));
  // A hypervisor image has no memory of its VMs: those are partitions beside it.
  if (!guest || vms == Vms::kIgnore || image.role == Role::kHypervisor) return;
  for (const Image& vm : guest->vm_images()) report_partition(vm, options, Vms::kIgnore, report);
}

}  // namespace

Report triage(const OpenedDump& dump, const TriageOptions& options) {
  Report report;
  report.dump = dump_info(dump);
  for (const Image& image : dump.partitions) report_partition(image, options, Vms::kReport, report);
  relate_host_and_guests(report.partitions);
  return report;
}

}  // namespace hvd
