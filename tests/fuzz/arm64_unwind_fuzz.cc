// Unwind data of ARM64 functions with patches over them, used from the place that the first bytes
// choose. A patch: a place in the tables (u16), a word.
#include "guest/windows/unwind_steps.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/written_space.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  using namespace hvd::windows;
  constexpr VirtAddr kImage{0xfffff80180000000};
  constexpr std::uint32_t kTables = 0x2000;  // .rdata, and .pdata behind it
  static const WrittenSpace untouched = [] {
    WrittenSpace space;
    load_arm64_functions(space, kImage);
    space.write(VirtAddr{0xffffa00000000000}, Bytes(4096));
    return space;
  }();
  WrittenSpace space = untouched;
  ByteView input = fuzz::bytes_of_input(data, size);
  if (input.size() < 3) return 0;
  le16 place = 0;
  std::memcpy(&place, input.data(), sizeof place);
  Arm64State state;
  state.registers.pc = (kImage + 0x1000 + place % 0x180).value;
  state.exact = std::to_integer<int>(input[2]) % 2 == 0;
  state.registers.sp = state.registers.x[29] = 0xffffa00000000000;
  for (input = input.subspan(3); input.size() >= 6; input = input.subspan(6)) {
    std::memcpy(&place, input.data(), sizeof place);
    space.write(kImage + kTables + place % 0x1060, input.subspan(2, 4));
  }
  const auto image = PeImage::open(space, kImage);
  fuzz::require(image.has_value());
  for (int i = 0; i < 8; ++i) {
    const auto done = step(space, *image, state);
    if (!done || !*done) break;
    state.registers.pc = (kImage + 0x1000 + state.registers.pc % 0x180).value;
  }
  return 0;
}
