// The pipeline: read, scan for zeros, compress, seal, hash, append, on all cores, in bounded
// memory.
#pragma once

#include <functional>
#include <optional>

#include "base/progress.h"
#include "base/result.h"
#include "capture/restricted.h"
#include "capture/source.h"
#include "formats/hvd/writer.h"

namespace hvd {

/// What is to be done with a page.
struct PageMark {
  PageClass page_class = PageClass::kUnclassified;
  std::optional<Absence> left_out;  // then it is not even read
};

struct PipelineOptions {
  unsigned threads = 0;  // 0: one per core
  /// The marks of `count` pages from page number `first` (address / 4096) on; null: all
  /// unclassified. Called from several threads, a segment at a time.
  std::function<std::vector<PageMark>(std::uint64_t first, std::size_t count)> mark{};
  Replacement replacement{};
  /// Once true, pages are not read any more and absent with reason budget; null: never.
  std::function<bool()> spent{};
};

struct PipelineResult {
  std::uint64_t unreadable_pages = 0;
  std::uint64_t over_budget_pages = 0;
  std::uint64_t replaced_pages = 0;
  std::uint64_t swapped_pages = 0;
};

/// Writes every page of `source` into `partition`. Each worker takes a segment at a time and holds
/// one chunk buffer per class, so memory does not grow with the guest. On an error, or
/// kInterrupted, segments written so far stay and the caller ends the partition as incomplete.
Result<PipelineResult> write_memory(const PageSource& source, format::PartitionWriter& partition,
                                    const PipelineOptions& options, Progress& progress);

}  // namespace hvd
