#include "extractor/gdb_script.h"

#include <algorithm>

#include "base/text.h"
#include "guest/linux/modules.h"

namespace hvd {
namespace {

// A Python string literal. Names in a dump are hostile; gdb would run what breaks out of the quotes.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : printable(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

constexpr const char* kSectionCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

constexpr std::string_view kScript = R"(# Open with: gdb -x THIS-FILE
# Loads the kernel's symbols where KASLR put them, then the core, and selects the CPU that crashed.
set pagination off
set confirm off
set print thread-events off
python
import os
release, build, slide, core, cpu = @VALUES@
modules = {
@MODULES@}
script = os.path.realpath(@SELF@)
places = [os.environ.get("HVDUMP_VMLINUX", ""), os.path.join(os.path.dirname(script), "vmlinux"),
          os.path.join(os.path.dirname(script), "vmlinux-" + release), "/usr/lib/debug/boot/vmlinux-" + release,
          "/usr/lib/debug/lib/modules/" + release + "/vmlinux",
          "/usr/lib/debug/.build-id/" + build[:2] + "/" + build[2:] + ".debug"]
vmlinux = next((place for place in places if place and os.path.isfile(place)), None)
if vmlinux:
    # The file's own addresses first: gdb reads sections of a core by them.
    gdb.execute("symbol-file -o " + hex(slide) + " '" + vmlinux.replace("'", "\\'") + "'")
else:
    print("No vmlinux of " + release + " found; name it in HVDUMP_VMLINUX. Looked at: " + ", ".join(p for p in places if p))
folders = [folder for folder in os.environ.get("HVDUMP_MODULES", "").split(":") if folder]
folders += ["/usr/lib/debug/lib/modules/" + release, "/lib/modules/" + release]
missing = set(modules)
for folder in folders:
    for where, _, files in os.walk(folder):
        for name in files:
            stem = name.split(".ko")[0].replace("-", "_")
            if stem not in missing or not name.endswith((".ko", ".ko.debug")):
                continue
            sections = "".join(" -s " + section + " " + hex(at) for section, at in modules[stem])
            try:
                gdb.execute("add-symbol-file '" + os.path.join(where, name).replace("'", "\\'") + "'" + sections, to_string=True)
                missing.discard(stem)
            except gdb.error as error:
                print(name + ": " + str(error))
# core-file takes the rest of the line as it is: no quotes.
gdb.execute("core-file " + os.path.join(os.path.dirname(script), core))
threads = sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)
if cpu < len(threads):
    threads[cpu].switch()
end
)";

}  // namespace

std::string gdb_script(const linux_guest::Kernel& kernel, const linux_guest::Crash& crash, const std::string& core) {
  const auto& info = kernel.info();
  const std::string name = core.substr(core.rfind('/') + 1);
  // Threads are numbered by the NT_PRSTATUS notes, one for each CPU whose registers are known.
  unsigned thread = 0;
  for (unsigned cpu = 0; cpu < crash.cpu.value_or(0); ++cpu) thread += kernel.registers_of(cpu) != nullptr;
  std::string values = "(" + quoted(info.release()) + ", " + quoted(info.build_id()) + ", " +
                       hex(info.kaslr_offset().value_or(0)) + ", " + quoted(name) + ", " + std::to_string(thread) + ")";
  std::string modules;
  std::vector<std::string> ignored;
  for (const linux_guest::Module& module : linux_guest::read_modules(kernel, ignored)) {
    std::string sections;
    for (const auto& section : linux_guest::read_module_sections(kernel, module)) {
      // Only what gdb's command line takes as it is; a module has no honest section of another form.
      if (section.name.empty() || section.name.find_first_not_of(kSectionCharacters) != std::string::npos) continue;
      sections += "(" + quoted(section.name) + ", " + hex(section.address.value) + "), ";
    }
    if (!sections.empty()) modules += "    " + quoted(module.name) + ": (" + sections + "),\n";
  }
  std::string out(kScript);
  out.replace(out.find("@VALUES@"), 8, values);
  out.replace(out.find("@MODULES@"), 9, modules);
  // gdb does not tell a script its own name; an absolute one is what still works from another folder.
  out.replace(out.find("@SELF@"), 6, quoted(core + ".gdb"));
  return out;
}

}  // namespace hvd
