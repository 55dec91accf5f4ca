// Reporting: a Linux guest's parts as the report has them.
#include "analyzer/linux_findings.h"
#include "analyzer/linux_guest.h"
#include "analyzer/report_pieces.h"
#include "base/text.h"

namespace hvd {

using namespace linux_guest;

namespace {

constexpr std::size_t kMaxReportedTasks = 20000;

// To the microsecond, as the kernel prints it.
double seconds(std::uint64_t ns) {
  const std::uint64_t us = ns / 1000;
  return static_cast<double>(us) / 1e6;
}

void append(std::vector<Finding>& to, std::vector<Finding> findings) {
  to.insert(to.end(), std::make_move_iterator(findings.begin()),
            std::make_move_iterator(findings.end()));
}

}  // namespace

void LinuxGuest::add_frame(const Frame& frame, std::vector<FrameReport>& out) const {
  const auto symbol = symbolizer_->at(frame.lookup);
  FrameReport entry;
  entry.address = frame.address.value;
  entry.reliable = frame.reliable;
  if (symbol && !symbol->name.empty()) {
    entry.symbol = printable(symbol->name);
    entry.offset = symbol->offset + (frame.address - frame.lookup);
  }
  if (symbol && !symbol->module.empty()) entry.module = printable(symbol->module);
  std::vector<SourceFrame> sources;
  if (lines_ && symbol) sources = lines_->at(frame.lookup, symbolizer_->module_of(frame.lookup));
  for (const SourceFrame& source : sources) {
    if (source.inlined) {
      FrameReport& inlined = out.emplace_back();
      inlined.address = entry.address;
      inlined.reliable = entry.reliable;
      inlined.module = entry.module;
      inlined.symbol = printable(source.function);
      inlined.file = printable(source.file);
      inlined.line = source.line;
      inlined.inlined = true;
    } else {
      entry.file = printable(source.file);
      entry.line = source.line;
    }
  }
  out.push_back(std::move(entry));
}

std::vector<FrameReport> LinuxGuest::frames(const Stack& stack) const {
  std::vector<FrameReport> out;
  for (const Frame& frame : stack.frames) add_frame(frame, out);
  return out;
}

std::vector<CpuReport> LinuxGuest::cpus() { return cpu_reports(cpu_stacks()); }

std::vector<CpuReport> LinuxGuest::cpu_reports(const std::vector<Stack>& stacks) const {
  std::vector<CpuReport> out;
  for (unsigned number = 0; number < stacks.size(); ++number) {
    CpuReport& cpu = out.emplace_back();
    cpu.id = number;
    const auto at = current_task(*kernel_, number);
    const auto task = at ? read_task(*kernel_, *at) : Result<Task>(at.error());
    if (task) cpu.task = RunningTask{task->pid, printable(task->comm)};
    cpu.stack = frames(stacks[number]);
    const Registers* registers = kernel_->registers_of(number);
    if (!registers) continue;
    cpu.registers = register_values(*registers);
    if (!registers->knows(Reg::kRip)) continue;
    const VirtAddr rip{(*registers)[Reg::kRip]};
    const auto symbol = symbolizer_->at(rip);
    const auto read_bytes = [this](VirtAddr from, std::size_t size) {
      return kernel_->memory().read_bytes(from, size);
    };
    cpu.code = code_around(read_bytes, rip, symbol ? symbol->offset : 0);
  }
  return out;
}

std::vector<TaskReport> LinuxGuest::tasks(std::optional<std::int64_t> only_pid) {
  std::vector<TaskReport> out;
  for (const Task& task : task_list()) {
    if (out.size() == kMaxReportedTasks) break;
    if (only_pid && task.pid != *only_pid) continue;
    out.push_back({task.pid, task.tgid, printable(task.comm), task.state, task.cpu,
                   frames(task_stack(task))});
  }
  return out;
}

std::vector<ModuleReport> LinuxGuest::modules() {
  std::vector<ModuleReport> out;
  for (const Module& module : modules_) {
    ModuleReport& report = out.emplace_back();
    report.name = printable(module.name);
    report.base = module.base().value;
    report.size = module.size();
    report.build_id = module.build_id;
  }
  return out;
}

Result<std::vector<LogLine>> LinuxGuest::log() {
  std::vector<LogLine> out;
  for (const LogRecord& record : log_records())
    out.push_back({seconds(record.time_ns), record.level, printable(record.text, true)});
  return out;
}

std::vector<VmReport> LinuxGuest::vm_reports() {
  std::vector<VmReport> out;
  for (const VirtualMachine& machine : virtual_machines()) {
    VmReport& vm = out.emplace_back();
    vm.name = printable(machine.name);
    vm.uuid = printable(machine.uuid);
    vm.pid = machine.pid;
    for (const MemorySlot& slot : machine.slots) vm.memory_bytes += slot.range.size;
    for (const VirtualCpu& cpu : machine.cpus) {
      vm.cpus.push_back(
          {cpu.id, cpu.pid, cpu.host_cpu, cpu.in_guest, register_values(cpu.registers)});
    }
  }
  return out;
}

OsReport LinuxGuest::os_report() const {
  const VmcoreInfo& info = kernel_->info();
  return {OsFamily::kLinux, printable(info.release()), printable(info.build_id()),
          info.kaslr_offset()};
}

CrashReport LinuxGuest::crash_report(const std::optional<ReportedPanic>& panic,
                                     const std::vector<Stack>& stacks) {
  Crash crash = find_crash(*kernel_, log_records());
  if (panic && crash.kind == "none") {
    crash.kind = "panic";
    crash.reason = panic->reason;
  }
  if (panic && !crash.cpu && crash.kind == "panic") crash.cpu = panic->cpu;
  CrashReport out;
  if (crash.cpu && *crash.cpu < stacks.size())
    out.bucket_frames = bucket_frames(stacks[*crash.cpu], *symbolizer_);
  for (std::string& frame : out.bucket_frames) frame = printable(frame);
  out.kind = crash.kind;
  out.reason = printable(crash.reason);
  if (crash.kind != "none") out.bucket = bucket_name(crash, out.bucket_frames);
  out.cpu = crash.cpu;
  if (crash.time_ns) out.time = seconds(*crash.time_ns);
  return out;
}

void LinuxGuest::report(const std::optional<ReportedPanic>& panic, PartitionReport& partition) {
  const std::vector<Stack> stacks = cpu_stacks();
  partition.os = os_report();
  partition.crash = crash_report(panic, stacks);
  partition.cpus = cpu_reports(stacks);
  partition.vms = vm_reports();
  partition.tasks = tasks(std::nullopt);
  partition.modules = modules();
  if (auto lines = log()) partition.log = std::move(*lines);

  append(partition.findings, stack_findings(*kernel_, stacks));
  append(partition.findings, task_findings(task_list()));
  append(partition.findings, log_findings(log_records()));
  if (partition.crash.kind == "none")
    partition.findings.push_back(
        finding(Severity::kInfo, "no-crash", "nothing in the dump says that the guest crashed"));
  for (const std::string& problem : problems_)
    partition.findings.push_back(finding(Severity::kWarning, "damage", problem));
}

}  // namespace hvd
