#include "guest/windows/modules.h"

#include <algorithm>
#include <set>

#include "base/text.h"

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxModules = 16384;
constexpr std::size_t kMaxUnloaded = 50;  // MI_UNLOADED_DRIVERS

// KLDR_DATA_TABLE_ENTRY, the same since x64 exists. Builds keep the time stamp in different places;
// the image has it too.
constexpr std::uint64_t kBase = 0x30, kSize = 0x40, kBaseName = 0x58, kChecksum = 0x78;

void add_image_facts(const Kernel& kernel, Module& module) {
  auto pe = PeImage::open(kernel.space(), module.base);
  if (!pe) return;
  if (auto pdb = pe->pdb(kernel.space())) module.pdb = std::move(*pdb);
  if (auto version = pe->version(kernel.space())) module.version = std::move(*version);
  module.timestamp = pe->timestamp();
  module.pe = std::move(*pe);
}

Result<void> walk(const Kernel& kernel, std::vector<Module>& out) {
  const AddressSpace& space = kernel.space();
  const VirtAddr head = kernel.loaded_modules();
  std::set<std::uint64_t> seen;
  VirtAddr entry{HVD_TRY(space.read_u64(head))};
  while (entry != head) {
    if (!seen.insert(entry.value).second || out.size() >= kMaxModules)
      return Error{ErrorCode::kCorrupt, "the list of loaded modules does not end"};
    Module module;
    module.base = VirtAddr{HVD_TRY(space.read_u64(entry + kBase))};
    module.size = HVD_TRY(space.read_u32(entry + kSize));
    if (const auto name = read_unicode_string(space, entry + kBaseName)) module.name = *name;
    if (const auto sum = space.read_u32(entry + kChecksum))
      module.checksum = static_cast<std::uint32_t>(*sum);
    add_image_facts(kernel, module);
    out.push_back(std::move(module));
    entry = VirtAddr{HVD_TRY(space.read_u64(entry))};
  }
  return {};
}

}  // namespace

std::vector<Module> read_modules(const Kernel& kernel, std::vector<std::string>& problems) {
  std::vector<Module> out;
  for (const DriverFact& driver : kernel.image().facts.drivers) {
    Module module;
    module.name = driver.name.substr(driver.name.find_last_of("\\/") + 1);
    module.base = VirtAddr{driver.base};
    module.size = driver.size;
    module.timestamp = driver.timestamp;
    module.checksum = driver.checksum;
    add_image_facts(kernel, module);
    out.push_back(std::move(module));
  }
  if (!out.empty()) return out;
  if (const auto done = walk(kernel, out); !done)
    problems.push_back("the list of loaded modules ends early: " + done.error().message);
  return out;
}

std::vector<UnloadedModule> read_unloaded_modules(const Kernel& kernel) {
  std::vector<UnloadedModule> out;
  for (const UnloadedDriverFact& driver : kernel.image().facts.unloaded_drivers)
    out.push_back({driver.name, VirtAddr{driver.begin}, VirtAddr{driver.end}});
  if (!out.empty() || !kernel.debugger_data()) return out;
  // UNLOADED_DRIVERS: a name, begin, end and time.
  constexpr std::uint64_t kEntry = 0x28;
  const AddressSpace& space = kernel.space();
  const auto table = space.read_u64(kernel.debugger_data()->data.unloaded_drivers());
  if (!table || *table == 0) return out;
  for (std::size_t i = 0; i < kMaxUnloaded; ++i) {
    const VirtAddr entry = VirtAddr{*table} + i * kEntry;
    const auto begin = space.read_u64(entry + 0x10), end = space.read_u64(entry + 0x18);
    const auto name = read_unicode_string(space, entry);
    if (!begin || !end || !name) break;
    if (*begin != 0 && !name->empty()) out.push_back({*name, VirtAddr{*begin}, VirtAddr{*end}});
  }
  return out;
}

const Module* module_at(const std::vector<Module>& modules, VirtAddr at) {
  const auto found = std::find_if(modules.begin(), modules.end(),
                                  [&](const Module& module) { return module.contains(at); });
  return found == modules.end() ? nullptr : &*found;
}

}  // namespace hvd::windows
