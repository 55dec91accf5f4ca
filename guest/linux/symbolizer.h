// Symbolizer: names for kernel and module addresses, out of the dump alone.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "guest/linux/modules.h"

namespace hvd::linux_guest {

struct SymbolAt {
  std::string name;
  std::uint64_t offset = 0;  // bytes into the symbol
  std::uint64_t size = 0;    // 0 when not known
  std::string module;        // empty: the kernel itself
};

class Symbolizer {
 public:
  /// Both must outlive the object.
  Symbolizer(const Kernel& kernel, const std::vector<Module>& modules)
      : kernel_(kernel), modules_(modules) {}

  /// The symbol that holds `at`, if any does.
  std::optional<SymbolAt> at(VirtAddr at) const;
  const Module* module_of(VirtAddr at) const;

 private:
  const Kernel& kernel_;
  const std::vector<Module>& modules_;
  mutable std::map<const Module*, std::vector<ModuleSymbol>> symbols_;  // read when first asked for
};

}  // namespace hvd::linux_guest
