#include "extractor/gdb_script.h"

#include <algorithm>
#include <filesystem>

#include "base/text.h"
#include "guest/linux/modules.h"
#include "guest/linux/orc.h"
#include "guest/linux/tasks.h"

namespace hvd {
namespace {

// A Python string literal. Names in a dump are hostile; gdb would run what breaks out of the
// quotes.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : printable(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

constexpr const char* kSectionCharacters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

constexpr std::string_view kBegin = R"(# Open with: gdb -x THIS-FILE
# Loads the kernel's symbols where KASLR put them, then the core, and selects the CPU that crashed.
set pagination off
set confirm off
set print thread-events off
python
)";
constexpr std::string_view kEnd = "end\n";

std::string switches_text(const linux_guest::Kernel& kernel) {
  using linux_guest::OrcEntry;
  std::string out;
  const std::vector<linux_guest::Module> none;
  const auto orc = linux_guest::OrcTables::open(kernel, none);
  if (!orc) return out;
  const auto switches = orc->stack_switches();
  if (!switches) return out;
  for (const linux_guest::OrcRange& range : *switches) {
    const bool saves_bp = range.entry.bp_base == OrcEntry::Base::kPrevSp;
    out += "    (" + hex(range.begin.value) + ", " + hex(range.end.value) + ", " +
           std::to_string(range.entry.sp_offset) + ", " +
           (saves_bp ? std::to_string(range.entry.bp_offset) : "None") + "),\n";
  }
  return out;
}

}  // namespace

std::string with_values(std::string_view script,
                        const std::vector<std::pair<std::string_view, std::string>>& values) {
  std::string out;
  for (std::size_t at = 0; at < script.size();) {
    const auto named = std::find_if(values.begin(), values.end(), [&](const auto& value) {
      return script.substr(at).starts_with(value.first);
    });
    if (named == values.end()) {
      out += script[at++];
      continue;
    }
    out += named->second;
    at += named->first.size();
  }
  return out;
}

std::string gdb_script(const linux_guest::Kernel& kernel, const linux_guest::Crash& crash,
                       const std::string& core) {
  const auto& info = kernel.info();
  const std::string name = core.substr(core.rfind('/') + 1);
  // Threads carry the pid of the task that ran on their CPU.
  const auto task = linux_guest::current_task(kernel, crash.cpu.value_or(0));
  const auto running =
      task ? linux_guest::read_task(kernel, *task) : Result<linux_guest::Task>(task.error());
  std::size_t cpu_count = 0;
  for (unsigned cpu = 0; cpu < kernel.cpu_count(); ++cpu)
    cpu_count += kernel.registers_of(cpu) != nullptr;
  std::string values = "(" + quoted(info.release()) + ", " + quoted(info.build_id()) + ", " +
                       hex(info.kaslr_offset().value_or(0)) + ", " + quoted(name) + ", " +
                       std::to_string(running ? running->pid : 0) + ", " +
                       std::to_string(cpu_count) + ")";
  std::string modules;
  std::vector<std::string> ignored;
  for (const linux_guest::Module& module : linux_guest::read_modules(kernel, ignored)) {
    std::string sections;
    for (const auto& section : linux_guest::read_module_sections(kernel, module)) {
      // Only what gdb's command line takes as it is; a module has no honest section of another
      // form. Initialisation code is freed after loading; its addresses are others' by now.
      if (section.name.empty() || section.name.starts_with(".init") ||
          section.name.find_first_not_of(kSectionCharacters) != std::string::npos) {
        continue;
      }
      sections += "(" + quoted(section.name) + ", " + hex(section.address.value) + "), ";
    }
    if (!sections.empty()) modules += "    " + quoted(module.name) + ": (" + sections + "),\n";
  }
  std::error_code ignored_error;
  const auto absolute = std::filesystem::absolute(core, ignored_error);
  // gdb does not tell a script its own name; an absolute one is what still works from another
  // folder.
  const std::string self = quoted(absolute.string() + ".gdb");
  return std::string(kBegin) +
         with_values(kGdbPython, {{"VALUES_HERE", values},
                                  {"MODULES_HERE", modules},
                                  {"SWITCHES_HERE", switches_text(kernel)},
                                  {"SELF_HERE", self}}) +
         std::string(kEnd);
}

}  // namespace hvd
