// Finding the VMCOREINFO that is true: the note may be missing, stale or a lie, and guest memory
// may hold several.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/image.h"
#include "guest/linux/kallsyms.h"
#include "guest/linux/vmcoreinfo.h"
#include "guest/x86_64/virtual_memory.h"

namespace hvd::linux_guest {

struct FoundVmcoreInfo {
  VmcoreInfo info;
  std::string text;                   // as the kernel wrote it
  std::string where;                  // "the VMCOREINFO note", or "guest memory at 0x..."
  std::vector<std::string> rejected;  // why other candidates were not believed, notes first
  std::size_t rejected_notes = 0;     // of them; memory may hold others, a host's its guests'
  std::optional<Kallsyms> symbols;    // when they led to it
};

/// Tries the notes, and when none holds the truth, where the kernel image that a CPU was in says it
/// is, and then every page of memory that begins like one. A
/// candidate is believed when its page tables lead to an init_uts_ns whose release is the
/// candidate's own, and, where a CPU was in the kernel, that CPU's tables agree. kNotFound when
/// nothing is believed.
Result<FoundVmcoreInfo> find_vmcoreinfo(const Image& image);

/// Whether `info` describes the kernel in `image`; the error says why not.
Result<void> prove(const VmcoreInfo& info, const Image& image);

}  // namespace hvd::linux_guest
