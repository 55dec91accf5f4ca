// Reads Windows kernel dumps of 64-bit machines: full, bitmap, RDMP and triage.
#pragma once

#include <memory>
#include <string>

#include "base/byte_source.h"
#include "base/image.h"

namespace hvd::windows {

/// Whether the file begins like a Windows kernel dump of either width.
bool is_windows_dump(ByteView first_bytes);

/// The whole file as an Image named `name`. The header goes along as note DUMP_HEADER64, the
/// crashing CPU's registers as the image's only ones, and facts say what kind of dump it is. A
/// triage dump has no physical memory: its memory is by virtual address, facts say "address_space":
/// "virtual" and list its drivers, and parts that it keeps without an address are notes
/// (TRIAGE_PRCB, TRIAGE_PROCESS, TRIAGE_THREAD). kUnsupported for a 32-bit dump and for kinds that
/// hold no memory; kCorrupt when the header cannot be true. A file that is cut short gives what
/// there is, with the loss in Image::problems.
Result<Image> open_windows_dump(const std::shared_ptr<const ByteSource>& source,
                                const std::string& name);

}  // namespace hvd::windows
