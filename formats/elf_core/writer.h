// Writes ELF-64 x86-64 core files. Takes plain values: what is where is the caller's knowledge.
#pragma once

#include <vector>

#include "base/output_file.h"
#include "base/physical_memory.h"
#include "base/progress.h"

namespace hvd::elf {

/// One PT_LOAD. Several may show the same memory.
struct LoadSegment {
  PhysRange memory;  // of the source; must lie inside one of the pieces
  std::uint64_t vaddr = 0;
  std::uint64_t paddr = 0;
};

struct CorePlan {
  std::vector<PhysRange>
      pieces;  // what the file holds: sorted, not overlapping, each readable throughout
  std::vector<LoadSegment> loads;  // in the order of the program headers
  std::vector<Note> notes;
};

/// Writes the file; zero memory stays a hole in it. Memory that turns out damaged on the way reads
/// as zero and is told in `damage`. Requires at most 2^32 - 1 loads.
Result<void> write_core(const CorePlan& plan, const PhysicalMemory& memory, OutputFile& file,
                        Progress& progress, std::vector<std::string>& damage);

}  // namespace hvd::elf
