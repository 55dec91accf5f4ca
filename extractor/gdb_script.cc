#include "extractor/gdb_script.h"

#include <algorithm>
#include <filesystem>

#include "base/text.h"
#include "guest/linux/modules.h"
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

constexpr std::string_view kScript = R"(# Open with: gdb -x THIS-FILE
# Loads the kernel's symbols where KASLR put them, then the core, and selects the CPU that crashed.
set pagination off
set confirm off
set print thread-events off
python
import os
release, build, slide, core, pid = @VALUES@
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
# The kernel's entry code has no call frame information; what it saved is a struct pt_regs at the stack pointer
# (arch/x86/include/asm/ptrace.h), from which the interrupted code goes on.
import gdb.unwinder
class Frame:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc
class EntryUnwinder(gdb.unwinder.Unwinder):
    places = {"r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbp": 32, "rbx": 40, "rip": 128, "rsp": 152}
    def __init__(self):
        super().__init__("kernel entry")
    def __call__(self, pending):
        pc, sp = int(pending.read_register("rip")) & (1 << 64) - 1, int(pending.read_register("rsp")) & (1 << 64) - 1
        symbol = gdb.execute("info symbol " + hex(pc - 1), to_string=True)
        if not symbol.startswith(("asm_exc_", "asm_sysvec_", "asm_common_interrupt", "asm_spurious_interrupt")):
            return None
        try:
            memory = gdb.selected_inferior().read_memory(sp, 168).tobytes()
        except gdb.MemoryError:
            return None
        if not int.from_bytes(memory[128:136], "little"):
            return None
        frame = pending.create_unwind_info(Frame(pending.read_register("rsp"), pending.read_register("rip")))
        for name, at in self.places.items():
            kind = pending.read_register(name).type
            frame.add_saved_register(name, gdb.Value(memory[at:at + 8], gdb.lookup_type("unsigned long")).cast(kind))
        return frame
gdb.unwinder.register_unwinder(None, EntryUnwinder(), True)
# core-file takes the rest of the line as it is: no quotes.
try:
    gdb.execute("core-file " + os.path.join(os.path.dirname(script), core))
except gdb.error as error:
    print(error)
# By pid, since all idle CPUs have 0 and gdb takes them for one thread.
for thread in gdb.selected_inferior().threads():
    if thread.ptid[1] == pid:
        thread.switch()
end
)";

}  // namespace

std::string gdb_script(const linux_guest::Kernel& kernel, const linux_guest::Crash& crash,
                       const std::string& core) {
  const auto& info = kernel.info();
  const std::string name = core.substr(core.rfind('/') + 1);
  // Threads carry the pid of the task that ran on their CPU.
  const auto task = linux_guest::current_task(kernel, crash.cpu.value_or(0));
  const auto running =
      task ? linux_guest::read_task(kernel, *task) : Result<linux_guest::Task>(task.error());
  std::string values = "(" + quoted(info.release()) + ", " + quoted(info.build_id()) + ", " +
                       hex(info.kaslr_offset().value_or(0)) + ", " + quoted(name) + ", " +
                       std::to_string(running ? running->pid : 0) + ")";
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
  std::string out(kScript);
  out.replace(out.find("@VALUES@"), 8, values);
  out.replace(out.find("@MODULES@"), 9, modules);
  std::error_code ignored_error;
  const auto absolute = std::filesystem::absolute(core, ignored_error);
  // gdb does not tell a script its own name; an absolute one is what still works from another
  // folder.
  out.replace(out.find("@SELF@"), 6, quoted(absolute.string() + ".gdb"));
  return out;
}

}  // namespace hvd
