// Symbolizer: names for addresses in modules, out of their PDBs where there are any, else out of
// what they export. And with names, which CPU crashed.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "guest/windows/modules.h"
#include "guest/windows/unwind.h"

namespace hvd::windows {

struct Place {
  const Module* module = nullptr;
  std::string symbol;        // empty when there is none
  std::uint32_t offset = 0;  // bytes into the symbol
};

class Symbolizer {
 public:
  /// All must outlive the object.
  Symbolizer(const AddressSpace& space, const std::vector<Module>& modules,
             const SymbolFinder& finder)
      : space_(space), modules_(modules), finder_(finder) {}

  Place at(VirtAddr at) const;

 private:
  const AddressSpace& space_;
  const std::vector<Module>& modules_;
  const SymbolFinder& finder_;
  mutable std::map<const Module*, std::multimap<std::uint32_t, std::string>> exports_;
};

/// The index of the crashing CPU in kernel.cpus(). A dump of Windows' own has the crashing CPU's
/// registers and no others; of a captured machine it is the one that told the hypervisor, else the
/// one whose stack leads to KeBugCheckEx.
std::optional<std::size_t> crashed_cpu(const Kernel& kernel, const Unwinder& unwinder,
                                       const Symbolizer& symbols);

}  // namespace hvd::windows
