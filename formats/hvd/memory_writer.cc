#include "formats/hvd/memory_writer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "base/parallel.h"

namespace hvd::format {
namespace {

constexpr std::size_t kScratchPages = 64;

// A run of pages that are alike.
struct Run {
  enum class Kind { kBytes, kZero, kAbsent, kHole };
  Kind kind = Kind::kHole;
  std::size_t pages = 1;
  Absence reason = Absence::kUnreadable;            // kAbsent
  bool lost = false;                                // kAbsent, though it should be there
  PageClass page_class = PageClass::kUnclassified;  // kBytes
  MutableBytes bytes{};                             // kBytes
};

Run lost_page() { return {.kind = Run::Kind::kAbsent, .lost = true}; }

// What the memory says of a run, as far as it says so without being read.
Run run_of(const Extent& extent) {
  Run run;
  switch (extent.kind) {
    case Extent::Kind::kStored:
      run.kind = Run::Kind::kBytes;
      run.page_class = extent.page_class;
      break;
    case Extent::Kind::kZero: run.kind = Run::Kind::kZero; break;
    case Extent::Kind::kAbsent:
      run.kind = Run::Kind::kAbsent;
      run.reason = extent.reason;
      break;
    case Extent::Kind::kSealed:
      run.kind = Run::Kind::kAbsent;
      run.reason = Absence::kFilteredClass;
      break;
    case Extent::Kind::kUnknown: return lost_page();
    case Extent::Kind::kHole: break;
  }
  return run;
}

// The ranges as whole pages.
std::vector<PhysRange> whole_pages(const std::vector<PhysRange>& ranges) {
  std::vector<PhysRange> out;
  for (const PhysRange& range : ranges) {
    if (range.size == 0) continue;
    const std::uint64_t begin = range.begin.value / kPageSize * kPageSize;
    const std::uint64_t last = (range.begin.value + (range.size - 1)) / kPageSize * kPageSize;
    out.push_back({PhysAddr{begin}, last - begin + kPageSize});
  }
  return normalised(std::move(out));
}

std::vector<std::uint32_t> segments_of(const std::vector<PhysRange>& ranges) {
  std::vector<std::uint32_t> segments;
  for (const PhysRange& range : ranges) {
    const std::uint64_t first = range.begin.value / kSegmentBytes;
    const std::uint64_t last = (range.begin.value + (range.size - 1)) / kSegmentBytes;
    for (std::uint64_t segment = first; segment <= last; ++segment) {
      const auto number = static_cast<std::uint32_t>(segment);
      if (segments.empty() || segments.back() != number) segments.push_back(number);
    }
  }
  return segments;
}

// Memory page by page, whatever its ranges' ends.
class PageReader {
 public:
  explicit PageReader(const PhysicalMemory& memory) : memory_(memory) {}

  // The run at `at`, at least one and at most `max` pages; bytes are read into `scratch`.
  Run run(PhysAddr at, std::size_t max, MutableBytes scratch) const {
    const Extent extent = memory_.extent_at(at);
    if (extent.range.size < kPageSize) return pieced_page(at, scratch.first(kPageSize));
    Run run = run_of(extent);
    run.pages =
        static_cast<std::size_t>(std::min<std::uint64_t>(extent.range.size / kPageSize, max));
    if (run.kind != Run::Kind::kBytes) return run;
    // What is not read as a whole is tried page by page.
    for (const std::size_t pages :
         {std::min(run.pages, scratch.size() / kPageSize), std::size_t{1}}) {
      run.pages = pages;
      run.bytes = scratch.first(pages * kPageSize);
      if (memory_.read(at, run.bytes)) return run;
    }
    return lost_page();
  }

 private:
  // A page that is not of one piece: what is outside the memory's ranges is zero.
  Run pieced_page(PhysAddr page, MutableBytes bytes) const {
    Run run;
    std::memset(bytes.data(), 0, bytes.size());
    for (std::size_t at = 0; at < kPageSize;) {
      const Extent extent = memory_.extent_at(page + at);
      const auto size =
          static_cast<std::size_t>(std::min<std::uint64_t>(extent.range.size, kPageSize - at));
      const Run piece = run_of(extent);
      if (piece.kind == Run::Kind::kAbsent) return piece;
      if (piece.kind == Run::Kind::kBytes) {
        if (!memory_.read(page + at, bytes.subspan(at, size))) return lost_page();
        if (run.kind != Run::Kind::kBytes) run.page_class = piece.page_class;
        run.kind = Run::Kind::kBytes;
        run.bytes = bytes;
      } else if (piece.kind == Run::Kind::kZero && run.kind == Run::Kind::kHole) {
        run.kind = Run::Kind::kZero;
      }
      at += size;
    }
    return run;
  }

  const PhysicalMemory& memory_;
};

class Work {
 public:
  Work(const PhysicalMemory& memory, PartitionWriter& partition, const MemoryOptions& options,
       Progress& progress)
      : reader_(memory),
        partition_(partition),
        options_(options),
        progress_(progress),
        ranges_(whole_pages(memory.ranges())),
        segments_(segments_of(ranges_)) {}

  std::size_t segments() const { return segments_.size(); }

  Result<void> write_segment(std::size_t index) {
    // One buffer per thread, not per segment.
    thread_local Bytes scratch(kScratchPages * kPageSize);
    const std::uint64_t base = segments_[index] * kSegmentBytes;
    SegmentWriter out = HVD_TRY(partition_.segment(segments_[index]));
    std::vector<PageMark> marks;
    if (options_.mark) marks = options_.mark(base / kPageSize, kSegmentPages);
    for (const PhysRange& range : ranges_) {
      const std::uint64_t begin = std::max(range.begin.value, base);
      const std::uint64_t end = std::min(range.begin.value + range.size, base + kSegmentBytes);
      if (begin >= end) continue;
      const auto stop = static_cast<std::size_t>((end - base) / kPageSize);
      for (auto page = static_cast<std::size_t>((begin - base) / kPageSize); page < stop;) {
        if (options_.check) HVD_TRY(options_.check());
        const Run run = run_at(base, page, stop, marks, scratch);
        HVD_TRY(store(out, base, page, marks, run));
        progress_.advance(run.pages * kPageSize);
        page += run.pages;
      }
    }
    return out.finish();
  }

  MemoryTotals totals() const { return {unreadable_, lost_, over_budget_, replaced_, swapped_}; }

 private:
  // The run that begins at `page` of the segment at `base` and ends at `stop` at the latest.
  Run run_at(std::uint64_t base, std::size_t page, std::size_t stop,
             const std::vector<PageMark>& marks, MutableBytes scratch) {
    const PhysAddr at{base + page * kPageSize};
    std::size_t last = stop;
    if (!marks.empty()) {
      last = page + 1;
      while (last < stop && marks[last].excluded == marks[page].excluded) ++last;
      if (marks[page].excluded)
        return seen(
            at,
            {.kind = Run::Kind::kAbsent, .pages = last - page, .reason = *marks[page].excluded});
    }
    if (options_.spent && options_.spent())
      return {.kind = Run::Kind::kAbsent, .pages = last - page, .reason = Absence::kBudget};
    return seen(at, reader_.run(at, last - page, scratch));
  }

  Run seen(PhysAddr at, Run run) const {
    if (options_.redact) options_.redact(at.value / kPageSize, run.pages, run.bytes);
    return run;
  }

  Result<void> store(SegmentWriter& out, std::uint64_t base, std::size_t page,
                     const std::vector<PageMark>& marks, const Run& run) {
    for (std::size_t i = 0; i < run.pages; ++i) {
      const auto number = static_cast<std::uint32_t>(page + i);
      const PageClass page_class = marks.empty() ? run.page_class : marks[number].page_class;
      switch (run.kind) {
        case Run::Kind::kHole: break;
        case Run::Kind::kZero: out.absent(number, Absence::kZero); break;
        case Run::Kind::kBytes:
          HVD_TRY(out.store(number, page_class, run.bytes.subspan(i * kPageSize, kPageSize)));
          break;
        case Run::Kind::kAbsent:
          HVD_TRY(store_missing(out, PhysAddr{base + number * kPageSize}, page_class, run));
          break;
      }
    }
    return {};
  }

  Result<void> store_missing(SegmentWriter& out, PhysAddr at, PageClass page_class,
                             const Run& run) {
    const auto number = static_cast<std::uint32_t>(at.value % kSegmentBytes / kPageSize);
    if (options_.replace) {
      std::array<std::byte, kPageSize> filled{};
      if (options_.replace(at, run.reason, filled)) {
        ++replaced_;
        return out.store(number, page_class, filled);
      }
    }
    if (run.reason == Absence::kUnreadable) ++unreadable_;
    if (run.reason == Absence::kSwapped) ++swapped_;
    if (run.reason == Absence::kBudget) ++over_budget_;
    if (run.lost) ++lost_;
    out.absent(number, run.reason);
    return {};
  }

  const PageReader reader_;
  PartitionWriter& partition_;
  const MemoryOptions& options_;
  Progress& progress_;
  const std::vector<PhysRange> ranges_;
  const std::vector<std::uint32_t> segments_;
  std::atomic<std::uint64_t> unreadable_{0}, lost_{0}, over_budget_{0}, replaced_{0}, swapped_{0};
};

}  // namespace

MemoryTotals& MemoryTotals::operator+=(const MemoryTotals& other) {
  unreadable_pages += other.unreadable_pages;
  lost_pages += other.lost_pages;
  over_budget_pages += other.over_budget_pages;
  replaced_pages += other.replaced_pages;
  swapped_pages += other.swapped_pages;
  return *this;
}

Result<MemoryTotals> write_memory(const PhysicalMemory& memory, PartitionWriter& partition,
                                  const MemoryOptions& options, Progress& progress) {
  Work work(memory, partition, options, progress);
  HVD_TRY(for_each_parallel(work.segments(), options.threads,
                            [&work](std::size_t i) { return work.write_segment(i); }));
  return work.totals();
}

}  // namespace hvd::format
