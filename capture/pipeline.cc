#include "capture/pipeline.h"

#include <atomic>

#include "base/parallel.h"
#include "capture/interrupt.h"

namespace hvd {
namespace {

using format::kSegmentBytes;

std::vector<std::uint32_t> segments_of(const std::vector<PhysRange>& ranges) {
  std::vector<std::uint32_t> segments;
  for (const PhysRange& range : ranges) {
    const std::uint64_t first = range.begin.value / kSegmentBytes;
    const std::uint64_t last = (range.begin.value + range.size - 1) / kSegmentBytes;
    for (std::uint64_t segment = first; segment <= last; ++segment) {
      const auto number = static_cast<std::uint32_t>(segment);
      if (segments.empty() || segments.back() != number) segments.push_back(number);
    }
  }
  return segments;
}

class Run {
 public:
  Run(const PageSource& source, format::PartitionWriter& partition, const PipelineOptions& options,
      Progress& progress)
      : source_(source),
        partition_(partition),
        options_(options),
        progress_(progress),
        segments_(segments_of(source.ranges())) {}

  std::size_t segments() const { return segments_.size(); }

  Result<void> write_segment(std::size_t index) {
    // One buffer per thread, not per segment.
    thread_local Bytes scratch(std::size_t{kScratchPages} * kPageSize);
    return write_segment(segments_[index], scratch);
  }

  PipelineResult result() const { return {unreadable_, over_budget_, replaced_, swapped_}; }

 private:
  static constexpr std::uint64_t kScratchPages = 64;

  Result<void> write_segment(std::uint32_t segment, MutableBytes scratch) {
    format::SegmentWriter out = HVD_TRY(partition_.segment(segment));
    const std::uint64_t base = segment * kSegmentBytes;
    std::vector<PageMark> marks(format::kSegmentPages);
    if (options_.mark) marks = options_.mark(base / kPageSize, format::kSegmentPages);
    for (const PhysRange& range : source_.ranges()) {
      const std::uint64_t begin = std::max(range.begin.value, base);
      const std::uint64_t end = std::min(range.begin.value + range.size, base + kSegmentBytes);
      std::size_t last = 0;  // of pages with the same mark as to being left out
      for (std::uint64_t at = begin; at < end;) {
        HVD_TRY(check_interrupt());
        const std::size_t first = (at - base) / kPageSize;
        if (last <= first) {
          last = first + 1;
          while (last < (end - base) / kPageSize && marks[last].left_out == marks[first].left_out)
            ++last;
        }
        PageRun run{PageRun::Kind::kAbsent, last - first, {}, Absence::kBudget};
        if (marks[first].left_out) run.reason = *marks[first].left_out;
        else if (options_.spent && options_.spent()) over_budget_ += run.pages;
        else run = replaced(PhysAddr{at}, source_.fetch(PhysAddr{at}, run.pages, scratch), scratch);
        HVD_TRY(store(out, at, base, marks, run));
        progress_.advance(run.pages * kPageSize);
        at += run.pages * kPageSize;
      }
    }
    return out.finish();
  }

  // A page that is not there, with what the policy puts in its place.
  PageRun replaced(PhysAddr at, PageRun run, MutableBytes scratch) {
    if (run.kind != PageRun::Kind::kAbsent) return run;
    RestrictedAction action = RestrictedAction::kSkip;
    if (run.reason == Absence::kUnreadable) action = options_.replacement.unreadable;
    if (run.reason == Absence::kRestricted) action = options_.replacement.restricted;
    if (action == RestrictedAction::kSkip) return run;
    run.pages = std::min<std::uint64_t>(run.pages, scratch.size() / kPageSize);
    const MutableBytes pages = scratch.first(run.pages * kPageSize);
    fill(at, pages, action);
    replaced_ += run.pages;
    return {PageRun::Kind::kBytes, run.pages, pages, {}};
  }

  Result<void> store(format::SegmentWriter& out, std::uint64_t at, std::uint64_t base,
                     const std::vector<PageMark>& marks, const PageRun& run) {
    for (std::uint64_t i = 0; i < run.pages; ++i) {
      const std::uint64_t address = at + i * kPageSize;
      const auto page = static_cast<std::uint32_t>((address - base) / kPageSize);
      if (run.kind == PageRun::Kind::kZero) {
        out.absent(page, Absence::kZero);
      } else if (run.kind == PageRun::Kind::kAbsent) {
        if (run.reason == Absence::kUnreadable) ++unreadable_;
        if (run.reason == Absence::kSwapped) ++swapped_;
        out.absent(page, run.reason);
      } else {
        const ByteView bytes = run.bytes.subspan(i * kPageSize, kPageSize);
        HVD_TRY(out.store(page, marks[page].page_class, bytes));
      }
    }
    return {};
  }

  const PageSource& source_;
  format::PartitionWriter& partition_;
  const PipelineOptions& options_;
  Progress& progress_;
  const std::vector<std::uint32_t> segments_;
  std::atomic<std::uint64_t> unreadable_{0}, over_budget_{0}, replaced_{0}, swapped_{0};
};

}  // namespace

Result<PipelineResult> write_memory(const PageSource& source, format::PartitionWriter& partition,
                                    const PipelineOptions& options, Progress& progress) {
  Run run(source, partition, options, progress);
  HVD_TRY(for_each_parallel(run.segments(), options.threads,
                            [&run](std::size_t i) { return run.write_segment(i); }));
  return run.result();
}

}  // namespace hvd
