#include "formats/elf_core/writer.h"

#include <algorithm>
#include <cstring>

#include "base/byte_writer.h"
#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"
#include "formats/memory_file.h"

namespace hvd::elf {
namespace {

constexpr std::uint64_t kDataAlignment = 4096;

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
  std::memcpy(header.ident, kIdent.data(), kIdent.size());
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

}  // namespace

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

  return copy_pieces(memory, plan.pieces, offsets, file, progress, damage);
}

}  // namespace hvd::elf
