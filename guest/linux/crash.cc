#include "guest/linux/crash.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::string_view kPanic = "Kernel panic - not syncing: ";

// What the kernel prints first when something goes wrong (arch/x86/mm/fault.c, lib/bug.c,
// kernel/watchdog.c, ...).
constexpr std::array<std::string_view, 12> kCauses{"BUG: ",
                                                   "kernel BUG at ",
                                                   "Oops: ",
                                                   "general protection fault",
                                                   "watchdog: BUG: ",
                                                   "double fault: ",
                                                   "invalid opcode: ",
                                                   "stack segment: ",
                                                   "divide error: ",
                                                   "Out of memory",
                                                   "watchdog: Watchdog detected",
                                                   "sysrq: Trigger a crash"};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Functions that run because of a crash, not before it.
bool is_machinery(std::string_view name) {
  static constexpr std::array<std::string_view, 42> kNames{"panic",
                                                           "vpanic",
                                                           "nmi_panic",
                                                           "__die",
                                                           "__die_body",
                                                           "die",
                                                           "die_addr",
                                                           "oops_end",
                                                           "oops_begin",
                                                           "no_context",
                                                           "page_fault_oops",
                                                           "__bad_area_nosemaphore",
                                                           "bad_area_nosemaphore",
                                                           "do_user_addr_fault",
                                                           "do_kern_addr_fault",
                                                           "exc_page_fault",
                                                           "exc_invalid_op",
                                                           "handle_bug",
                                                           "exc_general_protection",
                                                           "do_error_trap",
                                                           "do_trap",
                                                           "exc_divide_error",
                                                           "kernelmode_fixup_or_oops",
                                                           "dump_stack",
                                                           "dump_stack_lvl",
                                                           "show_stack",
                                                           "make_task_dead",
                                                           "crash_kexec",
                                                           "__crash_kexec",
                                                           "machine_crash_shutdown",
                                                           "native_machine_crash_shutdown",
                                                           "crash_setup_regs",
                                                           "delay_tsc",
                                                           "__const_udelay",
                                                           "native_halt",
                                                           "notifier_call_chain",
                                                           "atomic_notifier_call_chain",
                                                           "report_bug",
                                                           "__warn",
                                                           "spurious_kernel_fault",
                                                           "bust_spinlocks",
                                                           "native_stop_other_cpus"};
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  return name.starts_with("asm_exc_") || name.starts_with("pvpanic_") ||
         name.starts_with("__pvpanic") || name.starts_with("asm_sysvec_") ||
         name.starts_with("panic_");
}

std::string without_suffix(std::string_view name) {
  for (std::string_view suffix : {".cold", ".constprop.", ".isra.", ".part."}) {
    if (const std::size_t at = name.find(suffix); at != std::string_view::npos)
      name = name.substr(0, at);
  }
  return std::string(name);
}

}  // namespace

Crash find_crash(const Kernel& kernel, const std::vector<LogRecord>& log) {
  Crash crash;
  std::string cause;
  for (const LogRecord& record : log) {
    const std::string line = first_line(record.text);
    if (line.starts_with(kPanic)) {
      crash.kind = "panic";
      crash.reason = line.substr(kPanic.size());
      crash.time_ns = record.time_ns;
      break;
    }
    const bool is_cause = std::any_of(kCauses.begin(), kCauses.end(),
                                      [&](std::string_view c) { return line.starts_with(c); });
    if (!is_cause) continue;
    const bool hang = line.find("lockup") != std::string::npos ||
                      line.find("Watchdog detected") != std::string::npos;
    const bool fatal = !line.starts_with("Out of memory") && !line.starts_with("sysrq: ");
    if (fatal) crash.kind = hang ? "hang" : "oops";
    // The first of a chain tells most, unless an earlier one was survived: then the last chain
    // counts.
    if (cause.empty() || (crash.time_ns && record.time_ns - *crash.time_ns > 10'000'000'000))
      cause = line;
    if (fatal) crash.time_ns = record.time_ns;
  }
  if (crash.kind != "panic" && crash.kind != "none") crash.reason = cause;
  else if (crash.kind == "panic" && !cause.empty()) crash.reason += " (" + cause + ")";

  // atomic_t panic_cpu, -1 as long as nobody panics (kernel/panic.c).
  const auto at = kernel.symbols().find("panic_cpu");
  const auto value =
      at ? kernel.memory().read_u32(*at) : Result<std::uint64_t>(Error{ErrorCode::kNotFound, ""});
  if (value && *value < kernel.cpu_count()) {
    crash.cpu = static_cast<unsigned>(*value);
    if (crash.kind != "panic") crash.kind = "panic";
  }
  return crash;
}

std::vector<std::string> bucket_frames(const Stack& stack, const Symbolizer& symbols) {
  std::vector<std::string> all, useful;
  std::size_t first_cause = 0;
  for (const Frame& frame : stack.frames) {
    if (!frame.reliable) break;
    const auto symbol = symbols.at(frame.lookup);
    if (!symbol) continue;
    const std::string name = without_suffix(symbol->name);
    all.push_back(symbol->module.empty() ? name : symbol->module + "!" + name);
    // Everything above the last piece of machinery ran because of the crash.
    if (is_machinery(name)) first_cause = all.size();
  }
  for (std::size_t i = first_cause; i < all.size() && useful.size() < 5; ++i)
    useful.push_back(all[i]);
  if (useful.empty())
    useful.assign(all.begin(),
                  all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(5, all.size())));
  return useful;
}

std::string bucket_name(const Crash& crash, const std::vector<std::string>& frames) {
  std::vector<std::string> parts{crash.kind};
  parts.insert(parts.end(), frames.begin(), frames.end());
  return stable_name("linux", parts);
}

}  // namespace hvd::linux_guest
