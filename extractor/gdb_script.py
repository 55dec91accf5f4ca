# Embedded by CMakeLists.txt without this line; gdb_script.cc puts values where names end in _HERE.
import os
release, build, slide, core, pid, cpus = VALUES_HERE
modules = {
MODULES_HERE}
# Where the kernel switches stacks: first address, end, offset of the caller's rsp from the pointer kept, and of its rbp.
switches = (
SWITCHES_HERE)
script = os.path.realpath(SELF_HERE)
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
# (arch/x86/include/asm/ptrace.h), from which the interrupted code goes on. A frame of user mode is the last one: its
# memory is not the kernel's. So is where a kernel thread began, whose struct pt_regs is empty. gdb ends at a zero pc.
# Nor does DWARF know where a function is called on the interrupts' stack: the pointer to the old one is on top there.
import gdb.unwinder
class Frame:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc
class KernelUnwinder(gdb.unwinder.Unwinder):
    def __init__(self):
        super().__init__("kernel entry")
    def caller(self, frame):
        """The caller's registers that are known, by name; None where DWARF knows better."""
        pc, sp, bp = frame
        if not pc >> 63:
            return {"rip": 0, "rsp": sp}
        for begin, end, sp_offset, bp_offset in switches:
            if begin <= pc - 1 < end:
                before = word(word_at(sp) + sp_offset)
                saved = {"rip": word_at(before - 8), "rsp": before}
                if bp_offset is not None:
                    saved["rbp"] = word_at(before + bp_offset)
                return saved
        # What is written in C has call frame information of its own.
        block = gdb.block_for_pc(pc - 1)
        if block and block.function:
            return None
        if not gdb.execute("info symbol " + hex(pc - 1), to_string=True).startswith(entries):
            return None
        return {name: word_at(sp + at) for name, at in pt_regs.items()}
    def __call__(self, pending):
        try:
            saved = self.caller([word(int(pending.read_register(name))) for name in ("rip", "rsp", "rbp")])
        except gdb.MemoryError:
            return None
        if saved is None:
            return None
        info = pending.create_unwind_info(Frame(pending.read_register("rsp"), pending.read_register("rip")))
        for name, value in saved.items():
            kind = pending.read_register(name).type
            info.add_saved_register(name, gdb.Value(value.to_bytes(8, "little"), gdb.lookup_type("unsigned long")).cast(kind))
        return info
pt_regs = {"r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbp": 32, "rbx": 40, "rip": 128, "rsp": 152}
entries = ("asm_exc_", "asm_sysvec_", "asm_common_interrupt", "asm_spurious_interrupt", "entry_SYSCALL_64",
           "entry_SYSCALL_compat", "entry_SYSENTER_compat", "entry_INT80_compat", "ret_from_fork")
def word(value):
    return value & (1 << 64) - 1
def word_at(address):
    return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")
gdb.unwinder.register_unwinder(None, KernelUnwinder(), True)
# core-file takes the rest of the line as it is: no quotes.
try:
    gdb.execute("core-file " + os.path.join(os.path.dirname(script), core))
except gdb.error as error:
    print(error)
# By pid. All idle CPUs have 0, as in /proc/vmcore, and gdb takes them for one thread.
threads = gdb.selected_inferior().threads()
if len(threads) < cpus:
    print("The dump has " + str(cpus) + " CPUs. gdb shows one thread for all that were idle.")
for thread in threads:
    if thread.ptid[1] == pid:
        thread.switch()
