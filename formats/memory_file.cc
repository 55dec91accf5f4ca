#include "formats/memory_file.h"

#include <algorithm>
#include <mutex>

#include "base/parallel.h"

namespace hvd {
namespace {

constexpr std::size_t kBlock = 1u << 20;
// What one thread copies at a time: a segment of an .hvd.
constexpr std::uint64_t kSlice = 64u << 20;
constexpr std::size_t kMaxDamage = 100;

void tell(std::vector<std::string>& damage, std::string what) {
  if (damage.size() < kMaxDamage) damage.push_back(std::move(what));
  else if (damage.size() == kMaxDamage) damage.emplace_back("and more");
}

}  // namespace

std::vector<PhysRange> readable_pieces(const PhysicalMemory& memory) {
  std::vector<PhysRange> pieces;
  for (const PhysRange& range : memory.ranges()) {
    for (std::uint64_t offset = 0; offset < range.size;) {
      const Extent extent = memory.extent_at(range.begin + offset);
      const std::uint64_t size =
          std::clamp<std::uint64_t>(extent.range.size, 1, range.size - offset);
      if (extent.kind == Extent::Kind::kStored || extent.kind == Extent::Kind::kZero) {
        pieces.push_back({range.begin + offset, size});
      }
      offset += size;
    }
  }
  return normalised(std::move(pieces));
}

Result<void> copy_memory(const PhysicalMemory& memory, PhysRange range, OutputFile& file,
                         std::uint64_t offset, Progress& progress,
                         std::vector<std::string>& damage) {
  Bytes buffer(kBlock);
  for (std::uint64_t at = 0; at < range.size;) {
    const PhysAddr from = range.begin + at;
    const Extent extent = memory.extent_at(from);
    std::uint64_t size = std::clamp<std::uint64_t>(extent.range.size, 1, range.size - at);
    if (extent.kind == Extent::Kind::kStored) {
      size = std::min<std::uint64_t>(size, kBlock);
      const MutableBytes block = MutableBytes(buffer).first(static_cast<std::size_t>(size));
      if (memory.read(from, block)) {
        HVD_TRY(file.write_at(offset + at, block));
      } else {
        // Find the damaged pages; the others are fine.
        for (std::uint64_t page = 0; page < size; page += kPageSize) {
          const MutableBytes one =
              block.subspan(page, std::min<std::uint64_t>(kPageSize, size - page));
          if (auto done = memory.read(from + page, one); done)
            HVD_TRY(file.write_at(offset + at + page, one));
          else tell(damage, done.error().message);
        }
      }
    }
    progress.advance(size);
    at += size;
  }
  return {};
}

Result<void> copy_pieces(const PhysicalMemory& memory, const std::vector<PhysRange>& pieces,
                         const std::vector<std::uint64_t>& offsets, OutputFile& file,
                         Progress& progress, std::vector<std::string>& damage) {
  // Slices are copied side by side: opening sealed, compressed chunks is work for all cores.
  struct Slice {
    PhysRange range;
    std::uint64_t offset;
  };
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const PhysRange& piece = pieces[i];
    for (std::uint64_t at = 0; at < piece.size;) {
      const std::uint64_t size =
          std::min(piece.size - at, kSlice - (piece.begin.value + at) % kSlice);
      slices.push_back({{piece.begin + at, size}, offsets[i] + at});
      at += size;
    }
  }
  std::mutex mutex;
  return for_each_parallel(slices.size(), 0, [&](std::size_t i) -> Result<void> {
    std::vector<std::string> found;
    HVD_TRY(copy_memory(memory, slices[i].range, file, slices[i].offset, progress, found));
    std::lock_guard lock(mutex);
    for (std::string& what : found) tell(damage, std::move(what));
    return {};
  });
}

}  // namespace hvd
