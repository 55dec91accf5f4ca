// AArch64 CPU state, as dumps of ARM64 systems have it.
#pragma once

#include <array>
#include <cstdint>

namespace hvd {

struct Arm64Registers {
  std::array<std::uint64_t, 31> x{};  // x29 is the frame pointer, x30 the link register
  std::uint64_t sp = 0, pc = 0;
  std::uint32_t pstate = 0;
};

}  // namespace hvd
