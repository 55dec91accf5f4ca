#include "analyzer/windows_report.h"

#include <algorithm>
#include <cstdio>

#include "analyzer/report_pieces.h"
#include "base/text.h"
#include "guest/debuginfo/pdb_symbols.h"
#include "guest/windows/bugcheck.h"

namespace hvd {

using namespace windows;
using nlohmann::json;

namespace {

constexpr std::size_t kMaxReportedThreads = 20000;

// "ntoskrnl.exe" -> "nt", "mydriver.sys" -> "mydriver": as WinDbg writes a module.
std::string short_name(const std::string& module) {
  const std::string name = module.substr(0, module.rfind('.'));
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "ntoskrnl" || lower == "ntkrnlmp" ? "nt" : name;
}

std::string hex_code(std::uint32_t code) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%X", code);
  return text;
}

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

std::string text_of(const BugCheck& bugcheck) {
  std::string out = hex_code(bugcheck.code);
  const std::string name = bugcheck_name(bugcheck.code);
  if (!name.empty()) out += " " + name;
  out += " (";
  for (std::size_t i = 0; i < bugcheck.parameters.size(); ++i)
    out += (i ? ", " : "") + hex(bugcheck.parameters[i]);
  return out + ")";
}

json parameters_json(const BugCheck& bugcheck) {
  json out = json::array();
  const auto* meanings = bugcheck_parameters(bugcheck.code);
  for (std::size_t i = 0; meanings && i < meanings->size(); ++i) {
    std::string line = hex(bugcheck.parameters[i]) + ": " + std::string((*meanings)[i]);
    const auto status = status_name(static_cast<std::uint32_t>(bugcheck.parameters[i]));
    if ((*meanings)[i] == "exception code" && !status.empty()) line += ", " + std::string(status);
    out.push_back(line);
  }
  return out;
}

bool is_bugcheck_machinery(const std::string& symbol) {
  return symbol.starts_with("KeBugCheck") || symbol.starts_with("KiBugCheck") ||
         symbol.starts_with("KiFastFailDispatch") || symbol.starts_with("KiExceptionDispatch") ||
         symbol.starts_with("KiDispatchException") || symbol.starts_with("KiPageFault") ||
         symbol.starts_with("RtlDispatchException") || symbol.starts_with("RtlpExecuteHandler");
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
  guest->crashed_ = windows::crashed_cpu(*guest->kernel_, *guest->unwinder_, *guest->symbolizer_);
  return guest;
}

Stack WindowsGuest::cpu_stack(const Cpu& cpu) const { return unwinder_->from_cpu(cpu); }

json WindowsGuest::stack_json(const Stack& stack) const {
  json out = json::array();
  for (const Frame& frame : stack.frames) {
    json entry{{"address", hex(frame.address.value)}, {"reliable", frame.reliable}};
    const Place place = symbolizer_->at(frame.lookup);
    if (place.module) entry["module"] = printable(short_name(place.module->name));
    if (!place.symbol.empty()) {
      entry["symbol"] = printable(place.symbol);
      entry["offset"] = place.offset + (frame.address - frame.lookup);
    } else if (place.module) {
      entry["offset"] = frame.address - place.module->base;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

json WindowsGuest::cpus_json() const {
  json out = json::array();
  for (const Cpu& cpu : kernel_->cpus()) {
    json entry{{"id", cpu.id}, {"task", nullptr}};
    const Registers* registers = cpu.best();
    entry["registers"] = cpu.arm64   ? registers_json(*cpu.arm64)
                         : registers ? registers_json(*registers)
                                     : json::object();
    for (const Process& process : processes_) {
      for (const Thread& thread : process.threads) {
        if (thread.cpu == cpu.id)
          entry["task"] = {{"pid", thread.id}, {"comm", printable(process.name)}};
      }
    }
    entry["stack"] = stack_json(cpu_stack(cpu));
    const auto read = [&](VirtAddr at, std::size_t size) {
      return kernel_->space().read_bytes(at, size);
    };
    entry["code"] = json::array();
    if (registers && registers->knows(Reg::kRip)) {
      const VirtAddr rip{(*registers)[Reg::kRip]};
      const Place place = symbolizer_->at(rip);
      entry["code"] = code_json(read, rip, place.symbol.empty() ? 0 : place.offset);
    }
    out.push_back(std::move(entry));
  }
  return out;
}

json WindowsGuest::tasks_json(std::optional<std::int64_t> only_id) const {
  json out = json::array();
  for (const Process& process : processes_) {
    for (const Thread& thread : process.threads) {
      if (out.size() == kMaxReportedThreads) return out;
      if (only_id && static_cast<std::int64_t>(thread.id) != *only_id) continue;
      const auto& cpus = kernel_->cpus();
      const auto on = std::find_if(cpus.begin(), cpus.end(),
                                   [&](const Cpu& cpu) { return thread.cpu == cpu.id; });
      const Stack stack =
          on != cpus.end() ? cpu_stack(*on) : unwinder_->from_stack(thread.kernel_stack);
      out.push_back({{"pid", static_cast<std::int32_t>(thread.id)},
                     {"tgid", static_cast<std::int32_t>(process.id)},
                     {"comm", printable(process.name)},
                     {"state", state_letter(thread.state)},
                     {"cpu", thread.cpu ? json(*thread.cpu) : json()},
                     {"stack", stack_json(stack)}});
    }
  }
  return out;
}

json WindowsGuest::modules_json() const {
  json out = json::array();
  for (const Module& module : modules_) {
    json entry{{"name", printable(module.name)},
               {"base", hex(module.base.value)},
               {"size", module.size},
               {"build_id", module.pdb ? hex_bytes(module.pdb->guid) : ""}};
    // What a symbol server asks for; reproducible builds have no time there.
    if (module.timestamp != 0) entry["timestamp"] = module.timestamp;
    if (module.checksum != 0) entry["checksum"] = module.checksum;
    if (!module.version.empty()) entry["version"] = module.version;
    if (module.pdb)
      entry["pdb"] = {{"file", printable(module.pdb->file)}, {"key", module.pdb->key()}};
    out.push_back(std::move(entry));
  }
  return out;
}

namespace {

// As Windows' own buckets: the code, and the first frame that is not the bug check's machinery, of
// a driver if there is one.
std::vector<std::string> bucket_frames(const WindowsGuest& guest, const json& stack) {
  std::vector<std::string> out;
  const auto& bugcheck = guest.kernel().bugcheck();
  if (!bugcheck) return out;
  out.push_back(hex_code(plain_bugcheck(bugcheck->code)));
  const auto named = [](const json& frame) {
    std::string name = frame.value("module", std::string());
    const std::string symbol = frame.value("symbol", std::string());
    if (!symbol.empty()) return name + "!" + symbol;
    return name + "+" + hex(frame.value("offset", std::uint64_t{0}));
  };
  const auto parameter = faulting_address(bugcheck->code);
  if (parameter) {
    const VirtAddr at{bugcheck->parameters[*parameter]};
    const auto place = guest.symbolizer().at(at);
    if (place.module) {
      out.push_back(short_name(place.module->name) + (place.symbol.empty()
                                                          ? "+" + hex(at - place.module->base)
                                                          : "!" + place.symbol));
      return out;
    }
  }
  // Frames that were only guessed come last: they may be of any call long gone.
  for (const bool reliable : {true, false}) {
    for (const json& frame : stack) {
      if (frame["reliable"] != reliable || !frame.contains("module") || frame["module"] == "nt")
        continue;
      out.push_back(named(frame));
      return out;
    }
  }
  for (const json& frame : stack) {
    if (!frame.contains("module") || is_bugcheck_machinery(frame.value("symbol", std::string())))
      continue;
    out.push_back(named(frame));
    return out;
  }
  return out;
}

void add_findings(const WindowsGuest& guest, json& findings) {
  const Kernel& kernel = guest.kernel();
  if (const auto& bugcheck = kernel.bugcheck()) {
    findings.push_back(finding_json("info", "bugcheck",
                                    text_of(*bugcheck) + ", from " + bugcheck->source,
                                    parameters_json(*bugcheck)));
    const auto parameter = faulting_address(bugcheck->code);
    const auto place =
        parameter ? guest.symbolizer().at(VirtAddr{bugcheck->parameters[*parameter]}) : Place();
    if (place.module) {
      std::string text = "the instruction that failed is in " + place.module->name;
      if (!place.module->version.empty()) text += " " + place.module->version;
      if (!place.symbol.empty()) text += ", " + place.symbol + "+" + hex(place.offset);
      findings.push_back(finding_json("warning", "faulting-module", text));
    }
  } else {
    findings.push_back(
        finding_json("info", "no-crash", "nothing in the dump says that the guest crashed"));
  }
  json how = json::array();
  for (const auto& [what, source] : kernel.found()) how.push_back(printable(what + ": " + source));
  findings.push_back(
      finding_json("info", "windows-found", "what of Windows was found, and how", how));
  json unloaded = json::array();
  for (const UnloadedModule& module : read_unloaded_modules(kernel)) {
    unloaded.push_back(printable(module.name) + " " + hex(module.begin.value) + "-" +
                       hex(module.end.value));
  }
  if (!unloaded.empty())
    findings.push_back(
        finding_json("info", "unloaded-modules", "drivers that were unloaded", unloaded));
  if (const auto time = kernel.system_time()) {
    constexpr std::uint64_t kEpoch = 116444736000000000;  // 1970 in FILETIME
    if (*time > kEpoch) {
      findings.push_back(
          finding_json("info", "system-time",
                       "the guest's clock said " +
                           utc(static_cast<std::time_t>((*time - kEpoch) / 10'000'000))));
    }
  }
  for (const std::string& problem : guest.problems())
    findings.push_back(finding_json("warning", "damage", problem));
  for (const std::string& problem : guest.symbol_problems())
    findings.push_back(finding_json("warning", "symbols-missing", problem));
}

}  // namespace

void report_windows(WindowsGuest& guest, const std::optional<ToldPanic>& told, json& partition) {
  const Kernel& kernel = guest.kernel();
  json os{{"family", "windows"},
          {"release", printable(kernel.release())},
          {"build_id", ""},
          {"kaslr_offset", nullptr}};
  for (const Module& module : guest.modules()) {
    if (module.base == kernel.base() && module.pdb) os["build_id"] = module.pdb->key();
  }
  partition["os"] = std::move(os);
  partition["cpus"] = guest.cpus_json();
  partition["tasks"] = guest.tasks_json();
  partition["modules"] = guest.modules_json();

  json& crash = partition["crash"];
  const auto crashed = guest.crashed_cpu();
  crash["kind"] = kernel.bugcheck() ? "bugcheck" : told ? "panic" : "none";
  crash["reason"] = kernel.bugcheck() ? text_of(*kernel.bugcheck()) : told ? told->reason : "";
  const json stack = crashed ? partition["cpus"][*crashed]["stack"] : json::array();
  std::vector<std::string> frames = bucket_frames(guest, stack);
  for (std::string& frame : frames) frame = printable(frame);
  crash["bucket"] = kernel.bugcheck() ? stable_name("windows", frames) : "";
  crash["bucket_frames"] = frames;
  crash["cpu"] = crashed ? json(kernel.cpus()[*crashed].id) : json();
  if (const auto up = kernel.up_time()) crash["time"] = static_cast<double>(*up) / 1e7;
  add_findings(guest, partition["findings"]);
}

}  // namespace hvd
