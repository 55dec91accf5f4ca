#include "analyzer/windows_guest.h"

#include <algorithm>

#include "analyzer/report_pieces.h"
#include "analyzer/windows_crash.h"
#include "base/text.h"
#include "guest/debuginfo/pdb_symbols.h"

namespace hvd {

using namespace windows;

namespace {

constexpr std::size_t kMaxReportedThreads = 20000;

// One letter, as a Linux task has it.
const char* state_letter(std::uint8_t state) {
  switch (state) {
    case 1:
    case 2:
    case 3:
    case 7: return "R";
    case 4: return "X";
    case 5: return "S";
    case 6: return "D";
    default: return "?";
  }
}

}  // namespace

Result<std::unique_ptr<WindowsGuest>> WindowsGuest::open(const Image& image,
                                                         const std::vector<std::string>& symbols) {
  std::unique_ptr<WindowsGuest> guest(new WindowsGuest);
  guest->finder_ = find_pdbs(symbols, [to = guest.get()](const std::string& problem) {
    to->symbol_problems_.push_back(problem);
  });
  guest->kernel_ = HVD_TRY(Kernel::open(image, guest->finder_));
  guest->problems_ = guest->kernel_->problems();
  guest->modules_ = read_modules(*guest->kernel_, guest->problems_);
  guest->processes_ = read_processes(*guest->kernel_, guest->problems_);
  guest->unwinder_ = std::make_unique<Unwinder>(guest->kernel_->space(), guest->modules_);
  guest->symbolizer_ =
      std::make_unique<Symbolizer>(guest->kernel_->space(), guest->modules_, guest->finder_);
  guest->crashed_ = crashed_cpu(*guest->kernel_, *guest->unwinder_, *guest->symbolizer_);
  return guest;
}

std::vector<std::string> WindowsGuest::problems() const {
  std::vector<std::string> out = problems_;
  out.insert(out.end(), symbol_problems_.begin(), symbol_problems_.end());
  return out;
}

Result<VirtAddr> WindowsGuest::symbol(const std::string& name) const {
  return kernel_->symbol(name);
}

Result<void> WindowsGuest::read(VirtAddr at, MutableBytes out) const {
  return kernel_->space().read(at, out);
}

std::vector<FrameReport> WindowsGuest::frames(const Stack& stack) const {
  std::vector<FrameReport> out;
  for (const Frame& frame : stack.frames) {
    FrameReport& entry = out.emplace_back();
    entry.address = frame.address.value;
    entry.reliable = frame.reliable;
    const Place place = symbolizer_->at(frame.lookup);
    if (place.module) entry.module = printable(short_module_name(place.module->name));
    if (!place.symbol.empty()) {
      entry.symbol = printable(place.symbol);
      entry.offset = place.offset + (frame.address - frame.lookup);
    } else if (place.module) {
      entry.offset = frame.address - place.module->base;
    }
  }
  return out;
}

CpuReport WindowsGuest::cpu_report(const Cpu& cpu) const {
  CpuReport out;
  out.id = cpu.id;
  const Registers* registers = cpu.best();
  if (cpu.arm64) out.registers = register_values(*cpu.arm64);
  else if (registers) out.registers = register_values(*registers);
  for (const Process& process : processes_) {
    for (const Thread& thread : process.threads) {
      if (thread.cpu == cpu.id)
        out.task = RunningTask{static_cast<std::int32_t>(thread.id), printable(process.name)};
    }
  }
  out.stack = frames(unwinder_->from_cpu(cpu));
  if (registers && registers->knows(Reg::kRip)) {
    const VirtAddr rip{(*registers)[Reg::kRip]};
    const Place place = symbolizer_->at(rip);
    const auto read_bytes = [this](VirtAddr at, std::size_t size) {
      return kernel_->space().read_bytes(at, size);
    };
    out.code = code_around(read_bytes, rip, place.symbol.empty() ? 0 : place.offset);
  }
  return out;
}

std::vector<CpuReport> WindowsGuest::cpus() {
  std::vector<CpuReport> out;
  for (const Cpu& cpu : kernel_->cpus()) out.push_back(cpu_report(cpu));
  return out;
}

Stack WindowsGuest::stack_of(const Thread& thread) const {
  const auto& cpus = kernel_->cpus();
  const auto on =
      std::find_if(cpus.begin(), cpus.end(), [&](const Cpu& cpu) { return thread.cpu == cpu.id; });
  return on != cpus.end() ? unwinder_->from_cpu(*on) : unwinder_->from_stack(thread.kernel_stack);
}

std::vector<TaskReport> WindowsGuest::tasks(std::optional<std::int64_t> only_id) {
  std::vector<TaskReport> out;
  for (const Process& process : processes_) {
    for (const Thread& thread : process.threads) {
      if (out.size() == kMaxReportedThreads) return out;
      if (only_id && static_cast<std::int64_t>(thread.id) != *only_id) continue;
      out.push_back({static_cast<std::int32_t>(thread.id), static_cast<std::int32_t>(process.id),
                     printable(process.name), state_letter(thread.state), thread.cpu,
                     frames(stack_of(thread))});
    }
  }
  return out;
}

std::vector<ModuleReport> WindowsGuest::modules() {
  std::vector<ModuleReport> out;
  for (const Module& module : modules_) {
    ModuleReport& entry = out.emplace_back();
    entry.name = printable(module.name);
    entry.base = module.base.value;
    entry.size = module.size;
    // What a symbol server asks for; reproducible builds have no time there.
    if (module.timestamp != 0) entry.timestamp = module.timestamp;
    if (module.checksum != 0) entry.checksum = module.checksum;
    if (!module.version.empty()) entry.version = printable(module.version);
    if (!module.pdb) continue;
    entry.build_id = hex_bytes(module.pdb->guid);
    entry.pdb = PdbReport{printable(module.pdb->file), module.pdb->key()};
  }
  return out;
}

Result<std::vector<LogLine>> WindowsGuest::log() {
  return Error{ErrorCode::kUnsupported, "Windows keeps no log in its kernel's memory"};
}

OsReport WindowsGuest::os_report() const {
  OsReport out;
  out.family = OsFamily::kWindows;
  out.release = printable(kernel_->release());
  for (const Module& module : modules_) {
    if (module.base == kernel_->base() && module.pdb) out.build_id = module.pdb->key();
  }
  return out;
}

void WindowsGuest::report(const std::optional<ReportedPanic>& panic, PartitionReport& partition) {
  partition.os = os_report();
  partition.cpus = cpus();
  partition.tasks = tasks(std::nullopt);
  partition.modules = modules();
  partition.crash =
      windows_crash(*kernel_, *symbolizer_, panic, crashed_ ? &partition.cpus[*crashed_] : nullptr);
  for (Finding& found : windows_findings(*kernel_, *symbolizer_))
    partition.findings.push_back(std::move(found));
  for (const std::string& problem : problems_)
    partition.findings.push_back(finding(Severity::kWarning, "damage", problem));
  for (const std::string& problem : symbol_problems_)
    partition.findings.push_back(finding(Severity::kWarning, "symbols-missing", problem));
}

}  // namespace hvd
