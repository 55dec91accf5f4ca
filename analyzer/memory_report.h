// How much of a partition's memory a dump holds, by page class and by reason of absence.
#pragma once

#include "analyzer/report.h"
#include "base/physical_memory.h"

namespace hvd {

MemoryReport memory_report(const PhysicalMemory& memory);

}  // namespace hvd
