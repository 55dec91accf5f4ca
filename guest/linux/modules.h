// Loaded modules: where they are, their symbols, their types (struct module,
// include/linux/module.h).
#pragma once

#include <string>
#include <vector>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct ModuleRange {
  VirtAddr begin;
  std::uint64_t size = 0;
  bool contains(VirtAddr at) const { return at.value - begin.value < size; }
};

struct ModuleSymbol {
  std::string name;
  VirtAddr address;
  std::uint64_t size = 0;
};

struct Module {
  std::string name;
  VirtAddr struct_at;
  std::vector<ModuleRange> ranges;  // the text first
  std::string build_id;             // hexadecimal; empty when the kernel does not keep it
  std::uint64_t size() const;
  bool contains(VirtAddr at) const;
  VirtAddr base() const { return ranges.empty() ? VirtAddr{} : ranges.front().begin; }
};

/// The modules of `modules`, newest first as the kernel lists them. Damage ends the walk and is
/// told in `problems`; what was read stays.
std::vector<Module> read_modules(const Kernel& kernel, std::vector<std::string>& problems);

/// The module's symbols, sorted by address: text and data that it defines. Damage gives what could
/// be read.
std::vector<ModuleSymbol> read_module_symbols(const Kernel& kernel, const Module& module);

struct ModuleSection {
  std::string name;  // ".text"
  VirtAddr address;
};

/// Where the module's sections were loaded, as /sys/module/NAME/sections shows it: what a debugger
/// needs to place the module's file. Empty when the kernel does not keep it.
std::vector<ModuleSection> read_module_sections(const Kernel& kernel, const Module& module);

/// The module's own BTF on top of the kernel's; kNotFound when it has none.
Result<Types> read_module_types(const Kernel& kernel, const Module& module);

}  // namespace hvd::linux_guest
