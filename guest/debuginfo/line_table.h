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

/// A section of a relocatable file (a kernel module) and where it was loaded.
struct LoadedSection {
  std::string name;
  VirtAddr begin;
};

class LineTable {
 public:
  /// A linked program; `slide` says how far it was moved from where the file says it is.
  /// kNotFound when there is no such file.
  static Result<std::unique_ptr<LineTable>> open(const std::string& file, std::uint64_t slide);
  /// A relocatable file, whose sections were placed one by one. kNotFound when there is no such
  /// file, kUnsupported when it is not relocatable, kCorrupt when LLVM does not survive it.
  static Result<std::unique_ptr<LineTable>> open_relocatable(
      const std::string& file, const std::vector<LoadedSection>& sections);
  ~LineTable();

  /// The frames at `at`, innermost first; empty when nothing is known. kCorrupt, from then on, when
  /// LLVM does not survive the file.
  Result<std::vector<SourceFrame>> at(VirtAddr at) const;

 private:
  struct State;
  LineTable();
  static Result<std::unique_ptr<LineTable>> create(const std::string& file);
  std::unique_ptr<State> state_;
};

}  // namespace hvd
