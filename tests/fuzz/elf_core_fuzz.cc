// An ELF core file.
#include "formats/elf_core/reader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const ByteView input = fuzz::bytes_of_input(data, size);
  const auto image =
      elf::open_core(std::make_shared<BufferSource>(Bytes(input.begin(), input.end())), "core");
  if (image) fuzz::walk(*image->memory);
  return 0;
}
