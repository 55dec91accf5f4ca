// What a Linux guest's ELF core must hold so that gdb, crash and drgn open it as they are.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/image.h"
#include "formats/elf_core/writer.h"

namespace hvd {

struct GuestCore {
  elf::CorePlan plan;
  std::optional<std::string> gdb_script;  // for a recognised Linux guest
  std::vector<std::string> problems;
};

/// Memory by physical address; for a recognised Linux kernel also by the virtual addresses its page
/// tables give (direct map, text, modules, vmalloc, stacks, per-CPU areas), NT_PRSTATUS by the
/// kernel's CPU numbers with the pid of what ran there, and VMCOREINFO even where the guest had no
/// device to pass it. `output` is the core's name as the gdb script will load it.
GuestCore plan_guest_core(const Image& image, const std::string& output);

/// A VMM process: its threads and the pieces of its memory.
GuestCore plan_process_core(const Image& image);

}  // namespace hvd
