// Source lines and inlined functions for addresses, from DWARF, through LLVM.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace hvd {

struct SourceFrame {
  std::string function;
  std::string file;
  unsigned line = 0;
  bool inlined = false;  // into the next frame of the answer
};

class LineTable {
 public:
  /// `slide`: how far the program was moved from where the file says it is.
  static Result<std::unique_ptr<LineTable>> open(const std::string& file, std::uint64_t slide);
  ~LineTable();

  /// The frames at `at`, innermost first; empty when nothing is known.
  std::vector<SourceFrame> at(VirtAddr at) const;

 private:
  struct State;
  LineTable();
  std::unique_ptr<State> state_;
};

}  // namespace hvd
