#include <cstdio>

#include "analyzer/text_pieces.h"
#include "analyzer/triage.h"
#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;

constexpr std::size_t kLogLines = 60;

std::string of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

void heading(std::string& out, const std::string& text) {
  out += "\n" + text + "\n" + std::string(text.size(), '-') + "\n";
}

void line(std::string& out, const std::string& name, const std::string& value) {
  if (value.empty()) return;
  out += name + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') + value + "\n";
}

void crash_summary(std::string& out, const json& partition) {
  const json& os = partition["os"];
  const json& crash = partition["crash"];
  line(out, "System", of(os, "family") + " " + of(os, "release"));
  line(out, "Build id", of(os, "build_id"));
  line(out, "KASLR", of(os, "kaslr_offset"));
  line(out, "Crash",
       of(crash, "kind") + (of(crash, "reason").empty() ? "" : ": " + of(crash, "reason")));
  line(out, "Bucket", of(crash, "bucket"));
  if (crash["cpu"].is_number()) line(out, "Crashing CPU", " " + crash["cpu"].dump());
}

void cpu_section(std::string& out, const json& partition) {
  const json& crashed = partition["crash"]["cpu"];
  for (const json& cpu : partition["cpus"]) {
    std::string title = "CPU " + cpu["id"].dump();
    if (cpu["task"].is_object())
      title += ", task " + cpu["task"]["pid"].dump() + " " + of(cpu["task"], "comm");
    if (const auto vcpu = cpu.find("vcpu"); vcpu != cpu.end())
      title += ", vCPU " + (*vcpu)["id"].dump() + " of " + of(*vcpu, "vm");
    if (crashed == cpu["id"]) title += " (crashed)";
    heading(out, title);
    out += registers_text(cpu["registers"]);
    out += stack_text(cpu["stack"]);
    if (crashed != cpu["id"]) continue;
    for (const json& code : cpu["code"]) {
      const bool here = of(code, "address") == of(cpu["registers"], "rip");
      out +=
          std::string(here ? "=> " : "   ") + of(code, "address") + "  " + of(code, "text") + "\n";
    }
  }
}

void vm_section(std::string& out, const json& vms) {
  heading(out, "Virtual machines");
  out += "    PID      MEMORY VCPUS NAME\n";
  for (const json& vm : vms) {
    char head[64];
    std::snprintf(head, sizeof head, "%7lld %11s %5zu ",
                  static_cast<long long>(vm["pid"].get<std::int64_t>()),
                  human_size(vm["memory_bytes"].get<std::uint64_t>()).c_str(), vm["cpus"].size());
    out += head + of(vm, "name") + "\n";
    for (const json& cpu : vm["cpus"]) {
      if (!cpu["host_cpu"].is_number()) continue;
      out += "        vCPU " + cpu["id"].dump() + ", last on CPU " + cpu["host_cpu"].dump() +
             (cpu["in_guest"] == true ? ", in the guest\n" : "\n");
    }
  }
}

void log_section(std::string& out, const json& log) {
  if (log.empty()) return;
  const std::size_t first = log.size() > kLogLines ? log.size() - kLogLines : 0;
  heading(out, "Kernel log" + (first ? ", last " + std::to_string(kLogLines) + " of " +
                                           std::to_string(log.size()) + " records"
                                     : std::string()));
  for (std::size_t i = first; i < log.size(); ++i) out += log_line(log[i]);
}

void memory_line(std::string& out, const json& memory) {
  const auto size = [](const json& value) { return human_size(value.get<std::uint64_t>()); };
  std::string text =
      size(memory["present_bytes"]) + " of " + size(memory["total_bytes"]) + " present";
  for (const auto& [name, bytes] : memory["by_class"].items())
    text += ", " + name + " " + size(bytes);
  for (const auto& [name, bytes] : memory["absent"].items())
    text += ", " + name + " " + size(bytes);
  line(out, "Memory", text);
}

void partition_section(std::string& out, const json& partition) {
  heading(out, "Partition " + of(partition, "name") + " (" + of(partition, "role") + ", " +
                   of(partition, "state") + ")");
  line(out, "Why", of(partition, "state_reason"));
  if (partition["locked"] == true) out += "Sealed; nothing more can be told without its key.\n";
  else if (of(partition, "role") == "guest" && of(partition, "state") != "stateless" &&
           of(partition, "state") != "failed")
    crash_summary(out, partition);
  if (partition["memory"]["total_bytes"] != 0) memory_line(out, partition["memory"]);
  for (const json& finding : partition["findings"]) {
    out += (of(finding, "severity") == "warning" ? "! " : "* ") + of(finding, "text") + "\n";
    for (const json& evidence : finding["evidence"])
      out += "    " + evidence.get<std::string>() + "\n";
  }
  cpu_section(out, partition);
  if (partition.contains("vms")) vm_section(out, partition["vms"]);
  if (!partition["tasks"].empty()) {
    heading(out, "Tasks");
    out += tasks_text(partition["tasks"]);
  }
  if (!partition["modules"].empty()) {
    heading(out, "Modules");
    out += modules_text(partition["modules"]);
  }
  log_section(out, partition["log"]);
}

}  // namespace

std::string text_report(const json& report) {
  const json& dump = report["dump"];
  std::string out = "hvdump triage\n=============\n";
  line(out, "Dump", of(dump, "id"));
  line(out, "Created", of(dump, "created"));
  const std::string agent = of(dump["agent"], "agent");  // none in files of others
  if (!agent.empty()) line(out, "Written by", agent + " on " + of(dump["agent"], "host"));
  if (dump["complete"] != true) out += "! the dump is incomplete or damaged\n";
  for (const json& problem : dump["problems"]) out += "! " + problem.get<std::string>() + "\n";
  for (const json& partition : report["partitions"]) partition_section(out, partition);
  return out;
}

}  // namespace hvd
