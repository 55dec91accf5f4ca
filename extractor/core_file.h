// What writing an image for a debugger takes, whichever partition it is of.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"
#include "base/image.h"
#include "formats/hvd/dump.h"

namespace hvd {

/// Fails, saying why, when `partition` has no memory: kNotCaptured, or kCorrupt when it was lost.
Result<void> need_memory(const format::DumpPartition& partition, const Image& image);

/// Writes what debuggers of the image's kind open: of a process, or of a machine and its kernel
/// (then with a gdb script beside it). What it lacks is added to `problems`.
Result<void> write_core(const Image& image, const std::string& output, const std::string& input,
                        std::vector<std::string>& problems);

/// Says on standard error what is wrong with the image, and gives the exit code that follows.
ExitCode tell(const std::string& name, const std::vector<std::string>& problems);

}  // namespace hvd
