#include "guest/linux/symbolizer.h"

#include <algorithm>

namespace hvd::linux_guest {

const Module* Symbolizer::module_of(VirtAddr at) const {
  const auto found = std::find_if(modules_.begin(), modules_.end(),
                                  [&](const Module& m) { return m.contains(at); });
  return found == modules_.end() ? nullptr : &*found;
}

std::optional<SymbolAt> Symbolizer::at(VirtAddr at) const {
  if (const Module* module = module_of(at)) {
    auto [entry, fresh] = symbols_.try_emplace(module);
    if (fresh) entry->second = read_module_symbols(kernel_, *module);
    const std::vector<ModuleSymbol>& symbols = entry->second;
    auto next = std::upper_bound(symbols.begin(), symbols.end(), at,
                                 [](VirtAddr a, const ModuleSymbol& s) { return a < s.address; });
    if (next == symbols.begin()) return SymbolAt{"", at - module->base(), 0, module->name};
    auto found = std::prev(next);
    while (found != symbols.begin() && std::prev(found)->address == found->address) --found;
    return SymbolAt{found->name, at - found->address, found->size, module->name};
  }
  const auto symbol = kernel_.symbols().at(at);
  // Behind the last symbol there is nothing of the kernel's.
  if (!symbol || symbol->size == 0 || at - symbol->address >= symbol->size) return std::nullopt;
  return SymbolAt{symbol->name, at - symbol->address, symbol->size, ""};
}

}  // namespace hvd::linux_guest
