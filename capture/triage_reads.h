// What a triage looks at: the same functions, run to see what they read. A dump of just that is a
// few MiB and can still be triaged.
#pragma once

#include "base/image.h"

namespace hvd::linux_guest {

/// Reads through `image` all that is needed to know the kernel: its symbols, types and unwind
/// tables, log, modules, tasks, and every task's and CPU's stack. What cannot be read is passed
/// over.
void read_for_triage(const Image& image);

}  // namespace hvd::linux_guest
