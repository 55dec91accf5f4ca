#include "analyzer/text_report.h"

#include <cstdio>

#include "analyzer/text_pieces.h"
#include "base/text.h"

namespace hvd {
namespace {

constexpr std::size_t kLogLines = 60;

void heading(std::string& out, const std::string& text) {
  out += "\n" + text + "\n" + std::string(text.size(), '-') + "\n";
}

void line(std::string& out, const std::string& name, const std::string& value) {
  if (value.empty()) return;
  out += name + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') + value + "\n";
}

void crash_summary(std::string& out, const PartitionReport& partition) {
  const OsReport& os = partition.os;
  const CrashReport& crash = partition.crash;
  line(out, "System", std::string(name_of(os.family)) + " " + os.release);
  line(out, "Build id", os.build_id);
  line(out, "KASLR", os.kaslr_offset ? hex(*os.kaslr_offset) : "");
  line(out, "Crash", crash.kind + (crash.reason.empty() ? "" : ": " + crash.reason));
  line(out, "Bucket", crash.bucket);
  if (crash.cpu) line(out, "Crashing CPU", " " + std::to_string(*crash.cpu));
}

void code_section(std::string& out, const CpuReport& cpu) {
  const auto rip = cpu.registers.find("rip");
  for (const CodeLine& code : cpu.code) {
    const bool here = rip != cpu.registers.end() && code.address == rip->second;
    out += std::string(here ? "=> " : "   ") + hex(code.address) + "  " + code.text + "\n";
  }
}

void cpu_section(std::string& out, const PartitionReport& partition) {
  for (const CpuReport& cpu : partition.cpus) {
    const bool crashed = partition.crash.cpu == cpu.id;
    std::string title = "CPU " + std::to_string(cpu.id);
    if (cpu.task) title += ", task " + std::to_string(cpu.task->pid) + " " + cpu.task->comm;
    if (cpu.vcpu) title += ", vCPU " + std::to_string(cpu.vcpu->id) + " of " + cpu.vcpu->vm;
    if (crashed) title += " (crashed)";
    heading(out, title);
    out += registers_text(cpu.registers);
    out += stack_text(cpu.stack);
    if (crashed) code_section(out, cpu);
  }
}

void vm_section(std::string& out, const std::vector<VmReport>& vms) {
  if (vms.empty()) return;
  heading(out, "Virtual machines");
  out += "    PID      MEMORY VCPUS NAME\n";
  for (const VmReport& vm : vms) {
    char head[64];
    std::snprintf(head, sizeof head, "%7d %11s %5zu ", vm.pid, human_size(vm.memory_bytes).c_str(),
                  vm.cpus.size());
    out += head + vm.name + "\n";
    for (const VcpuReport& cpu : vm.cpus) {
      if (!cpu.host_cpu) continue;
      out += "        vCPU " + std::to_string(cpu.id) + ", last on CPU " +
             std::to_string(*cpu.host_cpu) + (cpu.in_guest ? ", in the guest\n" : "\n");
    }
  }
}

void log_section(std::string& out, const std::vector<LogLine>& log) {
  if (log.empty()) return;
  const std::size_t first = log.size() > kLogLines ? log.size() - kLogLines : 0;
  heading(out, "Kernel log" + (first ? ", last " + std::to_string(kLogLines) + " of " +
                                           std::to_string(log.size()) + " records"
                                     : std::string()));
  for (std::size_t i = first; i < log.size(); ++i) out += log_text(log[i]);
}

void memory_line(std::string& out, const MemoryReport& memory) {
  if (memory.total_bytes == 0) return;
  std::string text =
      human_size(memory.present_bytes) + " of " + human_size(memory.total_bytes) + " present";
  for (const auto* sizes : {&memory.by_class, &memory.absent}) {
    for (const auto& [name, size] : *sizes) text += ", " + name + " " + human_size(size);
  }
  line(out, "Memory", text);
}

void finding_lines(std::string& out, const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    out += (finding.severity == Severity::kInfo ? "* " : "! ") + finding.text + "\n";
    for (const std::string& evidence : finding.evidence) out += "    " + evidence + "\n";
  }
}

void partition_section(std::string& out, const PartitionReport& partition) {
  heading(out, "Partition " + partition.name + " (" + std::string(name_of(partition.role)) + ", " +
                   std::string(name_of(partition.state)) + ")");
  line(out, "Why", partition.state_reason);
  if (partition.locked) out += "Sealed; nothing more is visible without its key.\n";
  else if (partition.role == Role::kGuest && partition.state != PartitionState::kStateless &&
           partition.state != PartitionState::kFailed)
    crash_summary(out, partition);
  memory_line(out, partition.memory);
  finding_lines(out, partition.findings);
  cpu_section(out, partition);
  vm_section(out, partition.vms);
  if (!partition.tasks.empty()) {
    heading(out, "Tasks");
    out += tasks_text(partition.tasks);
  }
  if (!partition.modules.empty()) {
    heading(out, "Modules");
    out += modules_text(partition.modules);
  }
  log_section(out, partition.log);
}

}  // namespace

std::string text_report(const Report& report) {
  const DumpInfo& dump = report.dump;
  std::string out = "hvdump triage\n=============\n";
  line(out, "Dump", dump.id);
  line(out, "Created", dump.created.value_or(""));
  // Dumps in other formats name no agent.
  if (!dump.agent.name.empty()) line(out, "Written by", dump.agent.name + " on " + dump.agent.host);
  if (!dump.complete) out += "! the dump is incomplete or damaged\n";
  for (const std::string& problem : dump.problems) out += "! " + problem + "\n";
  for (const PartitionReport& partition : report.partitions) partition_section(out, partition);
  return printable(out, true);
}

}  // namespace hvd
