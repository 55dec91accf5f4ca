// Memory into a file: what every format that holds memory byte for byte does.
#pragma once

#include <string>
#include <vector>

#include "base/output_file.h"
#include "base/physical_memory.h"
#include "base/progress.h"

namespace hvd {

/// The pieces of `memory` that can be read: ranges without what is absent, sealed or lost.
std::vector<PhysRange> readable_pieces(const PhysicalMemory& memory);

/// Copies `range` of `memory` to `file` from `offset` on, leaving holes where it is zero. Memory
/// that turns out damaged on the way reads as zero and is told in `damage`.
Result<void> copy_memory(const PhysicalMemory& memory, PhysRange range, OutputFile& file,
                         std::uint64_t offset, Progress& progress,
                         std::vector<std::string>& damage);

/// The same for many, on all cores; `offsets` says where each goes.
Result<void> copy_pieces(const PhysicalMemory& memory, const std::vector<PhysRange>& pieces,
                         const std::vector<std::uint64_t>& offsets, OutputFile& file,
                         Progress& progress, std::vector<std::string>& damage);

}  // namespace hvd
