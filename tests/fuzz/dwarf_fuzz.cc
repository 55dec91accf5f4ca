// ELF files with DWARF, as somebody's debug package has them: build id, and lines of linked and of
// relocatable ones.
#include "guest/debuginfo/line_table.h"
#include "guest/debuginfo/symbol_files.h"
#include "tests/fuzz/fuzz_file.h"
#include "tests/support/debug_files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const fuzz::InputFile file(data, size);
  (void)build_id_of(file.path());
  const auto look = [](const Result<std::unique_ptr<LineTable>>& table) {
    if (!table) return;
    for (const std::uint64_t offset : {0u, 8u, 32u, 0x1000u})
      (void)(*table)->at(VirtAddr{kProgramText + offset}).has_value();
  };
  look(LineTable::open(file.path(), 0));
  look(LineTable::open_relocatable(file.path(), {{".text", VirtAddr{kProgramText}}}));
  return 0;
}
