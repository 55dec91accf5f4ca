// Instructions as text, by Capstone.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

struct Instruction {
  VirtAddr address;
  Bytes bytes;
  std::string text;  // AT&T syntax, as the kernel's own tools print
};

/// As many whole instructions as `code`, which begins at `at`, holds; at most `limit`. kUnsupported
/// when Capstone does not start.
Result<std::vector<Instruction>> disassemble(VirtAddr at, ByteView code, std::size_t limit);

}  // namespace hvd
