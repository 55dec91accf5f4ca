// The table of functions that an image has for unwinding (.pdata): where each begins and ends.
#pragma once

#include <optional>

#include "guest/windows/pe.h"

namespace hvd::windows {

struct Function {
  std::uint32_t begin = 0, end = 0;  // offsets in the image
  // Place of its unwind data; of ARM64 as the table has it, packed data (the low bits not zero)
  // too.
  std::uint32_t info = 0;
};

/// Of the function, or the part of one, that holds `rva`; nothing for a leaf, which needs no unwind
/// data, and for what is no code.
Result<std::optional<Function>> find_function(const AddressSpace& space, const PeImage& image,
                                              std::uint32_t rva);

/// Whether what is called by a name and begins at `name_at`, at or before `rva`, can be the
/// function that holds `rva`, as far as the table tells.
bool may_be_named(const AddressSpace& space, const PeImage& image, std::uint32_t name_at,
                  std::uint32_t rva);

/// Of x64: where the UNWIND_INFO at `info` says that it goes on in that of the function it is a
/// part of.
Result<std::optional<Function>> chained_function(const AddressSpace& space, const PeImage& image,
                                                 std::uint32_t info);

/// More parts than this a function does not have.
inline constexpr int kMaxChained = 32;

}  // namespace hvd::windows
