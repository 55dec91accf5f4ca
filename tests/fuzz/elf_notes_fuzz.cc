// The contents of a PT_NOTE segment, and the registers in it. What parses and is written again
// parses to the same.
#include "formats/elf_core/notes.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const auto notes = elf::parse_notes(fuzz::bytes_of_input(data, size));
  if (!notes) return 0;
  (void)elf::registers_from(*notes);
  Bytes again;
  for (const Note& note : *notes) elf::append_note(again, note);
  const auto reparsed = elf::parse_notes(again);
  fuzz::require(reparsed.has_value() && reparsed->size() == notes->size());
  for (std::size_t i = 0; i < notes->size(); ++i)
    fuzz::require((*reparsed)[i].contents == (*notes)[i].contents);
  return 0;
}
