#include "analyzer/windows_crash.h"

#include <algorithm>
#include <cstdio>

#include "analyzer/report_pieces.h"
#include "base/text.h"
#include "guest/windows/bugcheck.h"

namespace hvd {

using namespace windows;

namespace {

std::string hex_code(std::uint32_t code) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%X", code);
  return text;
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

std::vector<std::string> parameter_lines(const BugCheck& bugcheck) {
  std::vector<std::string> out;
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

// Where the instruction that failed is, when the bug check says so.
Place faulting_place(const BugCheck& bugcheck, const Symbolizer& symbolizer) {
  const auto parameter = faulting_address(bugcheck.code);
  return parameter ? symbolizer.at(VirtAddr{bugcheck.parameters[*parameter]}) : Place();
}

std::string name_of_frame(const FrameReport& frame) {
  const std::string module = frame.module.value_or("");
  if (frame.symbol && !frame.symbol->empty()) return module + "!" + *frame.symbol;
  return module + "+" + hex(frame.offset.value_or(0));
}

// The first frame that is not the bug check's machinery, of a driver if there is one.
const FrameReport* frame_to_blame(const std::vector<FrameReport>& stack) {
  // Frames that were only guessed come last: they may be of any call long gone.
  for (const bool reliable : {true, false}) {
    for (const FrameReport& frame : stack) {
      if (frame.reliable == reliable && frame.module && *frame.module != "nt") return &frame;
    }
  }
  for (const FrameReport& frame : stack) {
    if (frame.module && !is_bugcheck_machinery(frame.symbol.value_or(""))) return &frame;
  }
  return nullptr;
}

// As Windows' own buckets: the code, and the place to blame.
std::vector<std::string> bucket_frames(const BugCheck& bugcheck, const Symbolizer& symbolizer,
                                       const std::vector<FrameReport>& stack) {
  std::vector<std::string> out{hex_code(plain_bugcheck(bugcheck.code))};
  const auto parameter = faulting_address(bugcheck.code);
  const Place place = faulting_place(bugcheck, symbolizer);
  if (parameter && place.module) {
    const VirtAddr at{bugcheck.parameters[*parameter]};
    out.push_back(printable(
        short_module_name(place.module->name) +
        (place.symbol.empty() ? "+" + hex(at - place.module->base) : "!" + place.symbol)));
  } else if (const FrameReport* frame = frame_to_blame(stack)) {
    out.push_back(name_of_frame(*frame));
  }
  return out;
}

std::vector<Finding> bugcheck_findings(const BugCheck& bugcheck, const Symbolizer& symbolizer) {
  std::vector<Finding> out{finding(Severity::kInfo, "bugcheck",
                                   text_of(bugcheck) + ", from " + bugcheck.source,
                                   parameter_lines(bugcheck))};
  const Place place = faulting_place(bugcheck, symbolizer);
  if (!place.module) return out;
  std::string text = "the instruction that failed is in " + place.module->name;
  if (!place.module->version.empty()) text += " " + place.module->version;
  if (!place.symbol.empty()) text += ", " + place.symbol + "+" + hex(place.offset);
  out.push_back(finding(Severity::kWarning, "faulting-module", text));
  return out;
}

std::optional<Finding> clock_finding(const Kernel& kernel) {
  constexpr std::uint64_t kEpoch = 116444736000000000;  // 1970 in FILETIME
  const auto time = kernel.system_time();
  if (!time || *time <= kEpoch) return std::nullopt;
  return finding(
      Severity::kInfo, "system-time",
      "the guest's clock said " + utc(static_cast<std::time_t>((*time - kEpoch) / 10'000'000)));
}

}  // namespace

std::string short_module_name(const std::string& module) {
  const std::string name = module.substr(0, module.rfind('.'));
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "ntoskrnl" || lower == "ntkrnlmp" ? "nt" : name;
}

CrashReport windows_crash(const Kernel& kernel, const Symbolizer& symbolizer,
                          const std::optional<ReportedPanic>& panic, const CpuReport* crashed) {
  CrashReport out;
  out.kind = panic ? "panic" : "none";
  if (panic) out.reason = panic->reason;
  if (const auto& bugcheck = kernel.bugcheck()) {
    out.kind = "bugcheck";
    out.reason = text_of(*bugcheck);
    out.bucket_frames =
        bucket_frames(*bugcheck, symbolizer, crashed ? crashed->stack : std::vector<FrameReport>());
    out.bucket = stable_name("windows", out.bucket_frames);
  }
  if (crashed) out.cpu = crashed->id;
  if (const auto up = kernel.up_time()) out.time = static_cast<double>(*up) / 1e7;
  return out;
}

std::vector<Finding> windows_findings(const Kernel& kernel, const Symbolizer& symbolizer) {
  std::vector<Finding> out;
  if (const auto& bugcheck = kernel.bugcheck()) out = bugcheck_findings(*bugcheck, symbolizer);
  else
    out.push_back(
        finding(Severity::kInfo, "no-crash", "nothing in the dump says that the guest crashed"));
  std::vector<std::string> how;
  for (const auto& [what, source] : kernel.found()) how.push_back(printable(what + ": " + source));
  out.push_back(finding(Severity::kInfo, "windows-found", "what of Windows was found, and how",
                        std::move(how)));
  std::vector<std::string> unloaded;
  for (const UnloadedModule& module : read_unloaded_modules(kernel)) {
    unloaded.push_back(printable(module.name) + " " + hex(module.begin.value) + "-" +
                       hex(module.end.value));
  }
  if (!unloaded.empty())
    out.push_back(finding(Severity::kInfo, "unloaded-modules", "drivers that were unloaded",
                          std::move(unloaded)));
  if (auto clock = clock_finding(kernel)) out.push_back(std::move(*clock));
  return out;
}

}  // namespace hvd
