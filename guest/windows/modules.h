// Loaded and unloaded drivers of a Windows kernel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/windows/kernel.h"

namespace hvd::windows {

struct Module {
  std::string name;  // "ntoskrnl.exe"
  VirtAddr base;
  std::uint64_t size = 0;
  std::uint32_t timestamp = 0, checksum = 0;
  std::optional<PeImage> pe;  // when its headers are in memory
  std::optional<PdbId> pdb;
  std::string version;  // empty when not known
  bool contains(VirtAddr at) const { return at.value - base.value < size; }
};

struct UnloadedModule {
  std::string name;
  VirtAddr begin, end;
};

/// PsLoadedModuleList, or what a triage dump lists, in that order. Damage ends the walk and is told
/// in `problems`; what was read stays.
std::vector<Module> read_modules(const Kernel& kernel, std::vector<std::string>& problems);

/// MmUnloadedDrivers, or what a triage dump lists.
std::vector<UnloadedModule> read_unloaded_modules(const Kernel& kernel);

/// The module that holds `at`, or null.
const Module* module_at(const std::vector<Module>& modules, VirtAddr at);

}  // namespace hvd::windows
