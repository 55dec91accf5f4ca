#include "analyzer/host_findings.h"

#include <algorithm>

namespace hvd {
namespace {

constexpr std::size_t kEvidenceFrames = 6;
constexpr std::size_t kEvidenceLines = 8;

std::vector<std::string> function_names(const std::vector<FrameReport>& stack) {
  std::vector<std::string> out;
  for (const FrameReport& frame : stack) {
    if (out.size() == kEvidenceFrames) break;
    if (frame.symbol) out.push_back(*frame.symbol);
  }
  return out;
}

// What the host's log says of memory that failed (mm/memory-failure.c, machine checks).
std::vector<std::string> memory_failures(const PartitionReport& host) {
  std::vector<std::string> out;
  for (const LogLine& record : host.log) {
    const auto says = [&](const char* text) { return record.text.find(text) != std::string::npos; };
    const bool failed =
        says("Memory failure") || says("Hardware Error") || says("hardware memory error");
    if (failed && out.size() < kEvidenceLines) out.push_back(record.text);
  }
  return out;
}

void relate_vcpu(PartitionReport& host, const VmReport& vm, const VcpuReport& vcpu,
                 PartitionReport* guest) {
  const std::string which = "vCPU " + std::to_string(vcpu.id);
  if (vcpu.pid == 0) return;
  for (CpuReport& cpu : host.cpus) {
    if (!cpu.task || cpu.task->pid != vcpu.pid) continue;
    cpu.vcpu = RunningVcpu{vm.name, vcpu.id, vcpu.in_guest};
    if (guest && host.crash.kind != "none" && host.crash.cpu == cpu.id) {
      guest->findings.push_back(
          finding(Severity::kWarning, "host-died-in-vcpu",
                  "the host died on the CPU that ran " + which + ", in that one's thread",
                  function_names(cpu.stack)));
    }
    return;
  }
  const auto task = std::find_if(host.tasks.begin(), host.tasks.end(),
                                 [&](const TaskReport& t) { return t.pid == vcpu.pid; });
  if (!guest || task == host.tasks.end() || task->state != "D") return;
  guest->findings.push_back(
      finding(Severity::kWarning, "vcpu-stuck-in-host",
              which + " does not run: its thread waits in the host and cannot be interrupted",
              function_names(task->stack)));
}

void relate_memory(PartitionReport& host, PartitionReport& guest) {
  const auto restricted = guest.memory.absent.find("restricted");
  if (restricted == guest.memory.absent.end() || restricted->second == 0) return;
  const std::vector<std::string> evidence = memory_failures(host);
  const std::string size = std::to_string(restricted->second) + " bytes of ";
  // When the host's log is silent, it is the policy that says so.
  const std::string why = evidence.empty()
                              ? "must not be read, by the host's word or by policy"
                              : "lie where the host's memory failed, or must not be read";
  guest.findings.push_back(
      finding(Severity::kWarning, "restricted-memory", size + "this VM's memory " + why, evidence));
  host.findings.push_back(finding(Severity::kWarning, "restricted-memory-of-vm",
                                  size + "the VM " + guest.name + " " + why, evidence));
}

}  // namespace

void relate_host_and_guests(std::vector<PartitionReport>& partitions) {
  for (PartitionReport& host : partitions) {
    for (const VmReport& vm : host.vms) {
      PartitionReport* guest = nullptr;
      for (PartitionReport& partition : partitions) {
        if (partition.role == Role::kGuest && partition.name == vm.name) guest = &partition;
      }
      for (const VcpuReport& vcpu : vm.cpus) relate_vcpu(host, vm, vcpu, guest);
      if (guest) relate_memory(host, *guest);
    }
  }
}

}  // namespace hvd
