// What QEMU says in text: `info mtree -f`, and a command line that may carry secrets.
#include "capture/command_line_secrets.h"
#include "capture/qemu/memory_tree.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const std::string text = to_string(fuzz::bytes_of_input(data, size));
  fuzz::require(parse_flat_view(text).size() <= text.size());
  fuzz::require(without_secrets({text}).size() == 1);
  return 0;
}
