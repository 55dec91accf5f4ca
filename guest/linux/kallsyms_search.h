// Finding kallsyms by its structure, for kernels whose VMCOREINFO does not name it (before
// Linux 6.0).
#pragma once

#include <optional>

#include "guest/linux/kallsyms.h"

namespace hvd::linux_guest {

/// Looks through the mapped kernel image for a token index (256 increasing 16-bit offsets that fit
/// the strings of the token table before it), then for the tables around it, and decodes what it
/// finds. `stext` proves the result where VMCOREINFO gives it. kNotFound when nothing fits.
Result<Kallsyms> search_kallsyms(const VirtualMemory& memory, std::optional<VirtAddr> stext);

}  // namespace hvd::linux_guest
