#include "formats/elf_core/writer.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/byte_writer.h"
#include "base/parallel.h"
#include "base/text.h"
#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"

namespace hvd::elf {
namespace {

constexpr std::uint64_t kDataAlignment = 4096;
constexpr std::size_t kBlock = 1u << 20;
constexpr std::uint64_t kSlice = 64u
                                 << 20;  // what one thread copies at a time: a segment of an .hvd
constexpr std::size_t kMaxDamage = 100;

std::uint64_t aligned(std::uint64_t at) {
  return (at + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
}

// Where each piece begins in the file. A piece keeps its offset within a page, so that p_offset and
// p_vaddr agree.
std::vector<std::uint64_t> piece_offsets(const std::vector<PhysRange>& pieces, std::uint64_t at) {
  std::vector<std::uint64_t> offsets;
  for (const PhysRange& piece : pieces) {
    at = aligned(at) + piece.begin.value % kDataAlignment;
    offsets.push_back(at);
    at += piece.size;
  }
  return offsets;
}

FileHeader file_header(std::size_t program_headers) {
  FileHeader header{};
  std::memcpy(header.ident,
              "\x7f"
              "ELF\x02\x01\x01",
              7);
  header.type = kTypeCore;
  header.machine = kMachineX86_64;
  header.version = 1;
  header.phoff = sizeof(FileHeader);
  header.ehsize = sizeof(FileHeader);
  header.phentsize = sizeof(ProgramHeader);
  header.phnum = static_cast<std::uint16_t>(std::min<std::size_t>(program_headers, kPhnumExtended));
  if (program_headers >= kPhnumExtended) {
    // gABI: the count is then in the info of a lone section header, which stands behind the program
    // headers.
    header.shoff = sizeof(FileHeader) + program_headers * sizeof(ProgramHeader);
    header.shentsize = sizeof(SectionHeader);
    header.shnum = 1;
  }
  return header;
}

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

Result<void> write_core(const CorePlan& plan, const PhysicalMemory& memory, OutputFile& file,
                        Progress& progress, std::vector<std::string>& damage) {
  Bytes notes;
  for (const Note& note : plan.notes) append_note(notes, note);
  const std::size_t count = plan.loads.size() + 1;
  const FileHeader header = file_header(count);
  const bool extended = count >= kPhnumExtended;
  const std::uint64_t notes_at =
      sizeof header + count * sizeof(ProgramHeader) + (extended ? sizeof(SectionHeader) : 0);
  const std::vector<std::uint64_t> offsets = piece_offsets(plan.pieces, notes_at + notes.size());

  ByteWriter head;
  head.put(header);
  ProgramHeader note_header{};
  note_header.type = kNote;
  note_header.offset = notes_at;
  note_header.filesz = notes.size();
  note_header.align = 4;
  head.put(note_header);
  for (const LoadSegment& load : plan.loads) {
    const auto next =
        std::upper_bound(plan.pieces.begin(), plan.pieces.end(), load.memory.begin,
                         [](PhysAddr at, const PhysRange& piece) { return at < piece.begin; });
    const auto piece = static_cast<std::size_t>(std::prev(next) - plan.pieces.begin());
    ProgramHeader program{};
    program.type = kLoad;
    program.flags = 7;  // what a debugger may do with it, not what the guest could
    program.offset = offsets[piece] + (load.memory.begin.value - plan.pieces[piece].begin.value);
    program.vaddr = load.vaddr;
    program.paddr = load.paddr;
    program.filesz = load.memory.size;
    program.memsz = load.memory.size;
    head.put(program);
  }
  if (extended) {
    SectionHeader section{};
    section.info = static_cast<std::uint32_t>(count);
    head.put(section);
  }
  head.put(ByteView(notes));
  HVD_TRY(file.write_at(0, head.view()));
  const std::uint64_t end =
      plan.pieces.empty() ? notes_at + notes.size() : offsets.back() + plan.pieces.back().size;
  HVD_TRY(file.resize(end));

  // Slices are copied side by side: opening sealed, compressed chunks is work for all cores.
  struct Slice {
    PhysRange range;
    std::uint64_t offset;
  };
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < plan.pieces.size(); ++i) {
    const PhysRange& piece = plan.pieces[i];
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

}  // namespace hvd::elf
