// Writes Windows kernel dumps that hold physical memory: full, and bitmap (full or kernel).
//
// The files satisfy what independent readers insist on: pages begin at a page boundary within the
// first 16 MiB where the bitmap leaves room for that, the number of pages in the bitmap is a
// multiple of 64, the count of present pages is the bitmap's, and no file is shorter than 16 MiB.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "base/physical_memory.h"
#include "base/progress.h"
#include "formats/windows_dump/layout.h"

namespace hvd::windows {

struct MemoryDumpPlan {
  /// All but what depends on the file: type, runs, page counts, the space it takes.
  Header64 header{};
  /// Whole pages that can be read, by address, not overlapping.
  std::vector<PhysRange> pieces;
  /// Pages to be written otherwise than the memory has them, by page number: 4096 bytes each.
  std::map<std::uint64_t, Bytes> replaced;
};

/// Whether a full dump can name the pieces: at most 42 runs.
bool fits_full(const MemoryDumpPlan& plan);

/// Type 1. Requires fits_full().
Result<void> write_full_dump(const MemoryDumpPlan& plan, const PhysicalMemory& memory,
                             OutputFile& file, Progress& progress,
                             std::vector<std::string>& damage);

/// Type 5, or 6 when `kernel`.
Result<void> write_bitmap_dump(const MemoryDumpPlan& plan, bool kernel,
                               const PhysicalMemory& memory, OutputFile& file, Progress& progress,
                               std::vector<std::string>& damage);

}  // namespace hvd::windows
