#include "formats/windows_dump/writer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/memory_file.h"

namespace hvd::windows {
namespace {

constexpr std::uint64_t kSmallestFile = 16u << 20;  // LeechCore takes nothing shorter

Result<void> write_replaced(const MemoryDumpPlan& plan, const std::vector<std::uint64_t>& offsets,
                            OutputFile& file) {
  for (const auto& [number, bytes] : plan.replaced) {
    const PhysAddr at{number * kPageSize};
    for (std::size_t i = 0; i < plan.pieces.size(); ++i) {
      if (!plan.pieces[i].contains(at)) continue;
      HVD_TRY(file.write_at(offsets[i] + (at.value - plan.pieces[i].begin.value), bytes));
    }
  }
  return {};
}

Result<void> write_pages(const MemoryDumpPlan& plan, const PhysicalMemory& memory,
                         std::uint64_t first, OutputFile& file, Progress& progress,
                         std::vector<std::string>& damage) {
  std::vector<std::uint64_t> offsets;
  for (const PhysRange& piece : plan.pieces) {
    offsets.push_back(first);
    first += piece.size;
  }
  HVD_TRY(file.resize(std::max(first, kSmallestFile)));
  HVD_TRY(copy_pieces(memory, plan.pieces, offsets, file, progress, damage));
  return write_replaced(plan, offsets, file);
}

// The physical memory block; of more runs than it has room for it says nothing.
void fill_memory_block(Header64& header, const std::vector<PhysRange>& pieces) {
  std::uint64_t pages = 0;
  for (const PhysRange& piece : pieces) pages += piece.size / kPageSize;
  header.page_count = pages;
  const bool fits = pieces.size() <= kMaxHeaderRuns;
  header.run_count = fits ? static_cast<std::uint32_t>(pieces.size()) : 0;
  for (std::size_t i = 0; fits && i < pieces.size(); ++i)
    header.runs[i] = {pieces[i].begin.value / kPageSize, pieces[i].size / kPageSize};
}

}  // namespace

bool fits_full(const MemoryDumpPlan& plan) { return plan.pieces.size() <= kMaxHeaderRuns; }

Result<void> write_full_dump(const MemoryDumpPlan& plan, const PhysicalMemory& memory,
                             OutputFile& file, Progress& progress,
                             std::vector<std::string>& damage) {
  Header64 header = plan.header;
  header.dump_type = static_cast<std::uint32_t>(DumpType::kFull);
  fill_memory_block(header, plan.pieces);
  header.required_space = std::max(sizeof header + total_size(plan.pieces), kSmallestFile);
  HVD_TRY(file.write_at(0, bytes_of(header)));
  return write_pages(plan, memory, sizeof header, file, progress, damage);
}

Result<void> write_bitmap_dump(const MemoryDumpPlan& plan, bool kernel,
                               const PhysicalMemory& memory, OutputFile& file, Progress& progress,
                               std::vector<std::string>& damage) {
  std::uint64_t pages = 0;
  for (const PhysRange& piece : plan.pieces)
    pages = std::max(pages, (piece.begin.value + piece.size) / kPageSize);
  pages = (pages + 63) / 64 * 64;
  Bytes bitmap(static_cast<std::size_t>(pages / 8));
  for (const PhysRange& piece : plan.pieces) {
    const std::uint64_t begin = piece.begin.value / kPageSize;
    for (std::uint64_t page = begin; page < begin + piece.size / kPageSize; ++page)
      bitmap[page / 8] |= std::byte{1} << static_cast<int>(page % 8);
  }
  Header64 header = plan.header;
  header.dump_type =
      static_cast<std::uint32_t>(kernel ? DumpType::kBitmapKernel : DumpType::kBitmapFull);
  fill_memory_block(header, plan.pieces);
  BitmapHeader head{};
  std::memcpy(head.signature, kernel ? "SDMP" : "FDMP", sizeof head.signature);
  std::memcpy(head.valid, "DUMP", sizeof head.valid);
  head.pages = pages;
  head.present_pages = total_size(plan.pieces) / kPageSize;
  const std::uint64_t end = sizeof header + sizeof head + bitmap.size();
  head.first_page = (end + kPageSize - 1) / kPageSize * kPageSize;
  header.required_space = std::max(head.first_page + total_size(plan.pieces), kSmallestFile);
  HVD_TRY(file.write_at(0, bytes_of(header)));
  HVD_TRY(file.write_at(sizeof header, bytes_of(head)));
  HVD_TRY(file.write_at(sizeof header + sizeof head, bitmap));
  return write_pages(plan, memory, head.first_page, file, progress, damage);
}

}  // namespace hvd::windows
