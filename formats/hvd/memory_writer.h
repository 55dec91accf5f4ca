// Writes a partition's memory: reads it, finds out what is zero or missing, and hands each page to
// its segment, on several cores and in bounded memory.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/physical_memory.h"
#include "base/progress.h"
#include "formats/hvd/writer.h"

namespace hvd::format {

/// What is to be done with a page.
struct PageMark {
  PageClass page_class = PageClass::kUnclassified;
  std::optional<Absence> excluded;  // why it is not even read
};

struct MemoryOptions {
  unsigned threads = 0;  // 0: one per core

  // The hooks are called from several threads; each may be null.

  /// The marks of `count` pages from page number `first` (address / 4096) on, a segment at a time;
  /// null: each page has the class that the memory says, and none is excluded.
  std::function<std::vector<PageMark>(std::uint64_t first, std::size_t count)> mark{};
  /// Sees each run of pages before it is written: `count` pages from number `first` on, with their
  /// bytes, which it may change, or without any when the pages are excluded, zero or missing.
  std::function<void(std::uint64_t first, std::size_t count, MutableBytes bytes)> redact{};
  /// Fills `out`, zeros so far, for the page at `at`, which is missing for `reason`; false when it
  /// is to stay missing.
  std::function<bool(PhysAddr at, Absence reason, MutableBytes out)> replace{};
  /// Once true, pages are not read any more and are absent with reason budget.
  std::function<bool()> spent{};
  /// Asked between steps; its error ends the work.
  std::function<Result<void>()> check{};
};

struct MemoryTotals {
  std::uint64_t unreadable_pages = 0;  // absent with that reason
  std::uint64_t lost_pages = 0;        // of these, the ones the memory itself should have had
  std::uint64_t over_budget_pages = 0;
  std::uint64_t replaced_pages = 0;
  std::uint64_t swapped_pages = 0;

  MemoryTotals& operator+=(const MemoryTotals& other);
};

/// Writes every page of `memory` into `partition`. A page that cannot be read is absent with reason
/// unreadable, never an error that ends the work; one of a class that is sealed is absent with
/// reason filtered-class. Where a range begins or ends within a page, the rest of that page is
/// stored as zero; of a page that is in part missing, nothing is stored. Each worker takes a
/// segment at a time and holds one chunk buffer per class, so memory in use does not grow with the
/// partition. On an error, segments written so far stay, and the caller ends the partition as
/// incomplete.
Result<MemoryTotals> write_memory(const PhysicalMemory& memory, PartitionWriter& partition,
                                  const MemoryOptions& options, Progress& progress);

}  // namespace hvd::format
