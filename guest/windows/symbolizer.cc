#include "guest/windows/symbolizer.h"

#include <algorithm>

#include "guest/windows/function_table.h"

namespace hvd::windows {

Place Symbolizer::at(VirtAddr at) const {
  Place out;
  out.module = module_at(modules_, at);
  if (!out.module) return out;
  const auto rva = static_cast<std::uint32_t>(at - out.module->base);
  const auto symbols = finder_ && out.module->pdb ? finder_(*out.module->pdb) : nullptr;
  if (symbols) {
    if (const auto name = symbols->at(rva)) out.symbol = name->name, out.offset = name->offset;
    return out;
  }
  if (!out.module->pe) return out;
  const auto [entry, is_new] = exports_.try_emplace(out.module);
  if (is_new) entry->second = out.module->pe->exports(space_);
  auto behind = entry->second.upper_bound(rva);
  if (behind == entry->second.begin()) return out;
  --behind;
  // What is not exported has no name, rather than another function's.
  if (!may_be_named(space_, *out.module->pe, behind->first, rva)) return out;
  out.symbol = behind->second, out.offset = rva - behind->first;
  return out;
}

std::optional<std::size_t> crashed_cpu(const Kernel& kernel, const Unwinder& unwinder,
                                       const Symbolizer& symbols) {
  const auto& cpus = kernel.cpus();
  const auto choose = [&](auto is_it) -> std::optional<std::size_t> {
    const auto found = std::find_if(cpus.begin(), cpus.end(), is_it);
    if (found == cpus.end()) return std::nullopt;
    return static_cast<std::size_t>(found - cpus.begin());
  };
  for (const PanicReport& report : kernel.image().facts.panic) {
    const auto reporting = choose([&](const Cpu& each) { return report.cpu == each.id; });
    if (reporting) return reporting;
  }
  if (kernel.is_dump()) {
    if (const auto its = choose([](const Cpu& cpu) { return cpu.crashed; })) return its;
  }
  if (!kernel.bugcheck()) return std::nullopt;
  if (cpus.size() == 1) return std::size_t{0};
  return choose([&](const Cpu& cpu) {
    const Stack stack = unwinder.from_cpu(cpu);
    return std::any_of(stack.frames.begin(), stack.frames.end(), [&](const Frame& frame) {
      return frame.reliable && symbols.at(frame.lookup).symbol.starts_with("KeBugCheck");
    });
  });
}

}  // namespace hvd::windows
