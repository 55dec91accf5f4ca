#include "analyzer/linux_report.h"

#include <algorithm>

#include "analyzer/report_pieces.h"
#include "base/text.h"

namespace hvd {
namespace {

using namespace linux_guest;
using nlohmann::json;

constexpr std::size_t kMaxReportedTasks = 20000;

// To the microsecond, as the kernel prints it.
double seconds(std::uint64_t ns) {
  const std::uint64_t us = ns / 1000;
  return static_cast<double>(us) / 1e6;
}

json cpu_json(LinuxGuest& guest, unsigned cpu, const Stack& stack) {
  const Kernel& kernel = guest.kernel();
  json out{{"id", cpu}};
  const Registers* registers = kernel.registers_of(cpu);
  out["registers"] = registers ? registers_json(*registers) : json::object();
  if (const auto task = guest.task_on(cpu)) {
    out["task"] = {{"pid", task->pid}, {"comm", printable(task->comm)}};
  } else {
    out["task"] = nullptr;
  }
  out["stack"] = guest.stack_json(stack);
  out["code"] = json::array();
  if (registers && registers->knows(Reg::kRip)) {
    const VirtAddr rip{(*registers)[Reg::kRip]};
    const auto symbol = guest.symbolizer().at(rip);
    const auto read = [&](VirtAddr at, std::size_t size) {
      return kernel.memory().read_bytes(at, size);
    };
    out["code"] = code_json(read, rip, symbol ? symbol->offset : 0);
  }
  return out;
}

json vms_json(const std::vector<VirtualMachine>& machines) {
  json out = json::array();
  for (const VirtualMachine& machine : machines) {
    json cpus = json::array();
    for (const VirtualCpu& cpu : machine.cpus) {
      cpus.push_back({{"id", cpu.id},
                      {"pid", cpu.pid},
                      {"host_cpu", cpu.host_cpu ? json(*cpu.host_cpu) : json()},
                      {"in_guest", cpu.in_guest},
                      {"registers", registers_json(cpu.registers)}});
    }
    std::uint64_t memory = 0;
    for (const MemorySlot& slot : machine.slots) memory += slot.range.size;
    out.push_back({{"name", printable(machine.name)},
                   {"uuid", printable(machine.uuid)},
                   {"pid", machine.pid},
                   {"memory_bytes", memory},
                   {"cpus", std::move(cpus)}});
  }
  return out;
}

json findings_json(LinuxGuest& guest, const Crash& crash, const std::vector<Stack>& stacks) {
  json out = json::array();
  for (unsigned cpu = 0; cpu < stacks.size(); ++cpu) {
    const Registers* registers = guest.kernel().registers_of(cpu);
    if (registers && !registers->knows(Reg::kRip)) {
      out.push_back(finding_json("info", "registers-unknown",
                                 "where CPU " + std::to_string(cpu) +
                                     " was is not known: its rip was not captured (of a guest on "
                                     "Intel, KVM has only what it has read itself)"));
    } else if (!stacks[cpu].complete && !stacks[cpu].frames.empty()) {
      out.push_back(finding_json(
          "info", "stack-incomplete",
          "the stack of CPU " + std::to_string(cpu) + " ends early: " + stacks[cpu].end_reason));
    }
  }
  json waiting = json::array();
  for (const Task& task : guest.tasks()) {
    if (task.state == "D") waiting.push_back(std::to_string(task.pid) + " " + printable(task.comm));
  }
  if (!waiting.empty()) {
    const std::string text = std::to_string(waiting.size()) + " tasks wait uninterruptibly";
    out.push_back(finding_json("info", "uninterruptible-tasks", text, std::move(waiting)));
  }
  json tainted = json::array();
  for (const LogRecord& record : guest.log()) {
    if (record.text.find("Tainted: ") != std::string::npos) {
      tainted.push_back(printable(record.text.substr(0, record.text.find('\n'))));
      break;
    }
  }
  if (!tainted.empty())
    out.push_back(finding_json("info", "tainted", "the kernel was tainted", std::move(tainted)));
  if (crash.kind == "none")
    out.push_back(
        finding_json("info", "no-crash", "nothing in the dump says that the guest crashed"));
  return out;
}

std::vector<Stack> cpu_stacks(LinuxGuest& guest) {
  const Kernel& kernel = guest.kernel();
  std::vector<Stack> stacks;
  for (unsigned cpu = 0; cpu < kernel.cpu_count(); ++cpu) {
    // Possible CPUs that were never there have no registers and no task.
    if (!kernel.registers_of(cpu) && cpu >= kernel.image().registers.size()) break;
    stacks.push_back(guest.cpu_stack(cpu));
  }
  return stacks;
}

json cpus_json(LinuxGuest& guest, const std::vector<Stack>& stacks) {
  json out = json::array();
  for (unsigned cpu = 0; cpu < stacks.size(); ++cpu)
    out.push_back(cpu_json(guest, cpu, stacks[cpu]));
  return out;
}

}  // namespace

json cpus_json(LinuxGuest& guest) { return cpus_json(guest, cpu_stacks(guest)); }

json tasks_json(LinuxGuest& guest, std::optional<std::int64_t> only_pid) {
  json out = json::array();
  for (const Task& task : guest.tasks()) {
    if (out.size() == kMaxReportedTasks) break;
    if (only_pid && task.pid != *only_pid) continue;
    out.push_back({{"pid", task.pid},
                   {"tgid", task.tgid},
                   {"comm", printable(task.comm)},
                   {"state", task.state},
                   {"cpu", task.cpu ? json(*task.cpu) : json()},
                   {"stack", guest.stack_json(guest.task_stack(task))}});
  }
  return out;
}

json modules_json(LinuxGuest& guest) {
  json out = json::array();
  for (const Module& module : guest.modules()) {
    out.push_back({{"name", printable(module.name)},
                   {"base", hex(module.base().value)},
                   {"size", module.size()},
                   {"build_id", module.build_id}});
  }
  return out;
}

json log_json(LinuxGuest& guest) {
  json out = json::array();
  for (const LogRecord& record : guest.log()) {
    out.push_back({{"time", seconds(record.time_ns)},
                   {"level", record.level},
                   {"text", printable(record.text, true)}});
  }
  return out;
}

void report_linux(LinuxGuest& guest, const std::optional<ToldPanic>& told, json& partition) {
  const Kernel& kernel = guest.kernel();
  const VmcoreInfo& info = kernel.info();
  json os{{"family", "linux"},
          {"release", printable(info.release())},
          {"build_id", printable(info.build_id())}};
  if (const auto offset = info.kaslr_offset()) os["kaslr_offset"] = hex(*offset);
  else os["kaslr_offset"] = nullptr;
  partition["os"] = std::move(os);

  Crash crash = find_crash(kernel, guest.log());
  if (told && crash.kind == "none") {
    crash.kind = "panic";
    crash.reason = told->reason;
  }
  if (told && !crash.cpu && crash.kind == "panic") crash.cpu = told->cpu;
  const std::vector<Stack> stacks = cpu_stacks(guest);
  std::vector<std::string> frames;
  if (crash.cpu && *crash.cpu < stacks.size())
    frames = bucket_frames(stacks[*crash.cpu], guest.symbolizer());
  for (std::string& frame : frames) frame = printable(frame);
  partition["crash"] = {{"kind", crash.kind},
                        {"reason", printable(crash.reason)},
                        {"bucket", crash.kind == "none" ? "" : bucket_name(crash, frames)},
                        {"bucket_frames", frames},
                        {"cpu", crash.cpu ? json(*crash.cpu) : json()},
                        {"time", crash.time_ns ? json(seconds(*crash.time_ns)) : json()}};
  partition["cpus"] = cpus_json(guest, stacks);
  if (const auto& machines = guest.virtual_machines(); !machines.empty())
    partition["vms"] = vms_json(machines);
  partition["tasks"] = tasks_json(guest);
  partition["modules"] = modules_json(guest);
  partition["log"] = log_json(guest);
  for (json& found : findings_json(guest, crash, stacks))
    partition["findings"].push_back(std::move(found));
  for (const std::string& problem : guest.problems()) {
    partition["findings"].push_back(finding_json("warning", "damage", problem));
  }
}

}  // namespace hvd
