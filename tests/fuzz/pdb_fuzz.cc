// PDBs, as somebody's symbol store has them.
#include "guest/debuginfo/pdb_symbols.h"
#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  // The GUID that the seed has: the input says which, so that an input of any is looked into.
  if (size < 16) return 0;
  windows::PdbId id;
  id.file = "image.pdb";
  const ByteView guid = fuzz::bytes_of_input(data, 16);
  id.guid.assign(guid.begin(), guid.end());
  const fuzz::InputFile file(data + 16, size - 16);
  const auto symbols = open_pdb(file.path(), id);
  if (!symbols) return 0;
  (void)(*symbols)->place_of("KeStart");
  for (const std::uint32_t rva : {0u, 0x1000u, 0x2000u, 0xffffffffu}) (void)(*symbols)->at(rva);
  for (const char* member : {"UniqueProcessId", "ImageFileName", "none"})
    (void)(*symbols)->member("_EPROCESS", member);
  return 0;
}
