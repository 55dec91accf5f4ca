// Loaded modules: where they are, their symbols, their types (struct module,
// include/linux/module.h).
#pragma once

#include <string>
#include <utility>
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
  bool live = true;                 // or it is being loaded or unloaded
  std::uint64_t size() const;
  bool contains(VirtAddr at) const;
  VirtAddr base() const { return ranges.empty() ? VirtAddr{} : ranges.front().begin; }
};

/// The modules of `modules`, newest first as the kernel lists them. Damage ends the walk and is
/// told in `problems`; what was read stays.
std::vector<Module> read_modules(const Kernel& kernel, std::vector<std::string>& problems);

/// The first of that name, or null.
const Module* module_named(const std::vector<Module>& modules, std::string_view name);

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

/// A module's BTF as the kernel keeps it (struct btf_module and struct btf, kernel/bpf/btf.c).
struct ModuleBtf {
  VirtAddr entry;   // struct btf_module
  VirtAddr module;  // struct module
  VirtAddr btf;     // struct btf
};

/// Of all modules that have one; kCorrupt when the list does not end.
Result<std::vector<ModuleBtf>> list_module_btfs(const Kernel& kernel);

/// Where the bytes of a struct btf are and how many; kCorrupt when they are too many to be true.
Result<std::pair<VirtAddr, std::uint64_t>> btf_data(const Kernel& kernel, VirtAddr btf);

/// The module's own BTF on top of the kernel's; kNotFound when it has none.
Result<Types> read_module_types(const Kernel& kernel, const Module& module);

}  // namespace hvd::linux_guest
