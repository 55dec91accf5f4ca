// ELF notes: parsing, building, and the ones that carry x86-64 registers.
#pragma once

#include <vector>

#include "base/partition.h"
#include "base/registers.h"
#include "base/result.h"

namespace hvd::elf {

/// All notes of a PT_NOTE segment; kCorrupt when one runs past the end, with those before it lost
/// too.
Result<std::vector<Note>> parse_notes(ByteView segment);

/// Name, contents and paddings as ELF wants them.
void append_note(Bytes& to, const Note& note);

/// NT_PRSTATUS for debuggers; `pid` is what they show as the thread's id.
Note prstatus_note(const Registers& registers, std::uint32_t pid);

/// The "QEMU" note of dump-guest-memory, which adds control registers and descriptor tables.
Note qemu_note(const Registers& registers);

/// Which registers are known of the CPUs whose notes come in that order: the other notes have zero
/// in the place of those that are not. Debuggers pass over it.
Note known_note(const std::vector<Registers>& cpus);

/// One Registers per NT_PRSTATUS note in order, made complete by the n-th "QEMU" note where there
/// is one, without those that a known_note() says are not known.
std::vector<Registers> registers_from(const std::vector<Note>& notes);

}  // namespace hvd::elf
