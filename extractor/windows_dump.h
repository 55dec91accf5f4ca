// A Windows guest as a dump that WinDbg opens.
#pragma once

#include <string>
#include <vector>

#include "base/image.h"

namespace hvd {

enum class WindowsDumpType {
  kFull,  // all memory, in runs; as a bitmap when there are more runs than its header has room for
  kBitmap,  // all memory
  kKernel,  // without what only processes have mapped, and without free pages
  kTriage,  // the crash, in about a MiB
};

/// Writes the dump to `output`. `symbols`: places with PDBs, to decode what the kernel keeps
/// encoded should nothing else do. kNotFound when no Windows is to be found in `image`. What the
/// dump lacks is told in `problems`.
Result<void> write_windows_dump(const Image& image, WindowsDumpType type,
                                const std::vector<std::string>& symbols, const std::string& output,
                                const std::string& input, std::vector<std::string>& problems);

}  // namespace hvd
