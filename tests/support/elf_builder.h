// Builds ELF core files, honest ones and others.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"

namespace hvd {

class ElfCoreBuilder {
 public:
  ElfCoreBuilder() {
    std::memcpy(header.ident,
                "\x7f"
                "ELF\x02\x01\x01",
                7);
    header.type = elf::kTypeCore;
    header.machine = elf::kMachineX86_64;
    header.version = 1;
    header.phoff = sizeof(elf::FileHeader);
    header.ehsize = sizeof(elf::FileHeader);
    header.phentsize = sizeof(elf::ProgramHeader);
  }

  /// A PT_LOAD at `paddr` with `contents` in the file and `memsz` bytes in memory (0: as many as
  /// contents).
  ElfCoreBuilder& load(std::uint64_t paddr, ByteView contents, std::uint64_t memsz = 0) {
    elf::ProgramHeader program{};
    program.type = elf::kLoad;
    program.paddr = paddr;
    program.memsz = memsz ? memsz : contents.size();
    return segment(program, contents);
  }
  ElfCoreBuilder& note(const Note& note) {
    elf::append_note(notes_, note);
    return *this;
  }
  /// Any program header; offset and filesz are filled in.
  ElfCoreBuilder& segment(elf::ProgramHeader program, ByteView contents) {
    program.filesz = contents.size();
    segments_.push_back({program, Bytes(contents.begin(), contents.end())});
    return *this;
  }
  /// Exactly this program header, true or not.
  ElfCoreBuilder& lie(const elf::ProgramHeader& program) {
    lies_.push_back(program);
    return *this;
  }

  Bytes build() const {
    std::vector<Segment> all = segments_;
    if (!notes_.empty()) {
      elf::ProgramHeader program{};
      program.type = elf::kNote;
      program.filesz = notes_.size();
      all.push_back({program, notes_});
    }
    elf::FileHeader top = header;
    const std::size_t count = all.size() + lies_.size();
    if (top.phnum == 0) top.phnum = static_cast<std::uint16_t>(count);
    Bytes table, contents;
    const std::size_t data_at = sizeof top + count * sizeof(elf::ProgramHeader);
    for (Segment& segment : all) {
      segment.program.offset = data_at + contents.size();
      append(table, bytes_of(segment.program));
      append(contents, segment.contents);
    }
    for (const elf::ProgramHeader& program : lies_) append(table, bytes_of(program));
    Bytes out;
    append(out, bytes_of(top));
    append(out, table);
    append(out, contents);
    return out;
  }

  elf::FileHeader header{};

 private:
  struct Segment {
    elf::ProgramHeader program;
    Bytes contents;
  };
  std::vector<Segment> segments_;
  std::vector<elf::ProgramHeader> lies_;
  Bytes notes_;
};

}  // namespace hvd
