// One step of unwinding, from a function to its caller, by the unwind data of an image.
#pragma once

#include <array>

#include "base/arm64_registers.h"
#include "guest/windows/pe.h"

namespace hvd::windows {

struct X64State {
  std::array<std::uint64_t, 16>
      general{};  // as unwind codes number them: rax, rcx, rdx, rbx, rsp ...
  std::uint64_t rip = 0;
  bool exact = true;  // rip is where execution stopped, not a return address
  std::uint64_t pc() const { return rip; }
  std::uint64_t& sp() { return general[4]; }
};

struct Arm64State {
  Arm64Registers registers;
  bool exact = true;  // as above
  std::uint64_t pc() const { return registers.pc; }
  std::uint64_t& sp() { return registers.sp; }
};

/// `state` is in `image`; afterwards it is that of the caller. False when there is none.
Result<bool> step(const AddressSpace& space, const PeImage& image, X64State& state);
Result<bool> step(const AddressSpace& space, const PeImage& image, Arm64State& state);

}  // namespace hvd::windows
