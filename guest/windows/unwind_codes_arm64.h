// Unwind codes of ARM64 images (Microsoft's "ARM64 exception handling"): one for each instruction
// of a prolog, in the order that undoes them. A function of the usual form has its data packed in
// one word, from which the codes follow.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "guest/windows/function_table.h"

namespace hvd::windows::arm64 {

inline constexpr unsigned kFp = 29, kLr = 30;
// Unwind codes of one byte.
inline constexpr std::uint8_t kSetFp = 0xe1, kNop = 0xe3, kEnd = 0xe4, kEndChained = 0xe5,
                              kSaveNext = 0xe6, kTrapFrame = 0xe8, kMachineFrame = 0xe9,
                              kNotACall = 0xec, kSignReturn = 0xfc;

// The bytes of one code, and zeros behind them: at most 5, of a reserved one.
using Code = std::array<std::uint8_t, 5>;

struct Epilog {
  std::uint32_t begin = 0;  // in instructions from the function's first
  std::size_t code = 0;     // its first one in the codes
};

struct Unwinding {
  std::vector<std::uint8_t> codes;
  bool has_prolog = true;
  std::vector<Epilog> epilogs;
};

/// 0 for a code that is not known.
std::size_t size_of_code(std::uint8_t first);

/// What the kernel's own assembly marks stands for no instruction.
bool is_mark(std::uint8_t code);
bool is_end(std::uint8_t code);

/// How many instructions the codes from `at` on to their end stand for.
std::uint32_t instructions(const std::vector<std::uint8_t>& codes, std::size_t at);

/// `done`: instructions of the function that have run, when it stopped in it; only then an epilog
/// matters.
Result<Unwinding> read_unwinding(const AddressSpace& space, const PeImage& image,
                                 const Function& function, std::optional<std::uint32_t> done);

}  // namespace hvd::windows::arm64
