#include "guest/linux/modules.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "guest/linux/list_walk.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxModules = 8192;
constexpr std::size_t kMaxModuleName = 64;  // MODULE_NAME_LEN is 56
constexpr std::uint64_t kMaxModuleSymbols = 1u << 20;
constexpr std::size_t kMaxSymbolName = 512;  // KSYM_NAME_LEN
constexpr std::uint64_t kMaxModuleBtf = 64u << 20;
constexpr std::uint64_t kMaxModuleSections = 256;
constexpr std::uint64_t kMaxModuleSize = 1u << 30;

struct ElfSymbol {
  le32 name;
  unsigned char info, other;
  le16 shndx;
  le64 value;
  le64 size;
};
static_assert(sizeof(ElfSymbol) == 24 && WireStruct<ElfSymbol>);

// Since v6.4 a module is several pieces of memory, mem[] by type, the text first (commit
// ac3b43283923, "module: replace module_layout with module_memory"); before, core_layout.
Result<std::vector<ModuleRange>> read_ranges(const Kernel& kernel, VirtAddr module) {
  const Types& types = *HVD_TRY(kernel.need_types());
  std::vector<ModuleRange> ranges;
  const auto add = [&](VirtAddr layout, const Member& base, const Member& size) -> Result<void> {
    ModuleRange range;
    range.begin = VirtAddr{HVD_TRY(kernel.field(layout, base))};
    range.size = HVD_TRY(kernel.field(layout, size));
    if (range.size > 0 && range.size <= kMaxModuleSize) ranges.push_back(range);
    return {};
  };
  if (const auto mem = types.member("module", "mem")) {
    const auto base = HVD_TRY(types.member("module_memory", "base"));
    const auto size = HVD_TRY(types.member("module_memory", "size"));
    const std::uint64_t stride = HVD_TRY(types.size_of("module_memory"));
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(mem->elements, 16); ++i) {
      HVD_TRY(add(module + mem->offset + i * stride, base, size));
    }
    return ranges;
  }
  const auto base = HVD_TRY(types.member("module", "core_layout.base"));
  const auto size = HVD_TRY(types.member("module", "core_layout.size"));
  HVD_TRY(add(module, base, size));
  // Until a module has started, its symbols are there, too.
  const auto init = types.member("module", "init_layout.base");
  const auto init_size = types.member("module", "init_layout.size");
  if (init && init_size) HVD_TRY(add(module, *init, *init_size));
  return ranges;
}

// An ELF note: name and contents padded to 4 bytes (gABI, "Note Section").
struct NoteHeader {
  le32 name_size, contents_size, type;
};
static_assert(sizeof(NoteHeader) == 12 && WireStruct<NoteHeader>);
constexpr std::uint32_t kBuildIdNote = 3;  // NT_GNU_BUILD_ID
constexpr std::string_view kGnu("GNU\0", 4);
constexpr std::size_t kMaxBuildId = 64;

// The module's own note, which stays loaded for /sys/module/NAME/notes.
Result<Bytes> build_id_note(const Kernel& kernel, const Module& module) {
  for (const ModuleSection& section : read_module_sections(kernel, module)) {
    if (section.name != ".note.gnu.build-id") continue;
    const auto header = HVD_TRY(kernel.memory().read<NoteHeader>(section.address));
    const VirtAddr name_at = section.address + sizeof header;
    const Bytes name = HVD_TRY(kernel.memory().read_bytes(name_at, kGnu.size()));
    if (header.type != kBuildIdNote || header.name_size != kGnu.size() ||
        header.contents_size > kMaxBuildId || !std::ranges::equal(name, as_bytes(kGnu))) {
      break;
    }
    return kernel.memory().read_bytes(name_at + kGnu.size(), header.contents_size);
  }
  return Error{ErrorCode::kNotFound, "module " + module.name + " has no build id"};
}

bool is_live(const Kernel& kernel, VirtAddr module) {
  const Types& types = *kernel.types();
  const auto state = types.member("module", "state");
  const auto value = state ? kernel.field(module, *state) : Result<std::uint64_t>(state.error());
  if (!value) return true;
  for (const char* name : {"MODULE_STATE_COMING", "MODULE_STATE_GOING", "MODULE_STATE_UNFORMED"}) {
    const auto other = types.enumerator(name);
    if (other && *other == *value) return false;
  }
  return true;
}

std::string read_build_id(const Kernel& kernel, const Module& module) {
  // struct module itself has it only with CONFIG_STACKTRACE_BUILD_ID (include/linux/module.h).
  const auto member = kernel.types()->member("module", "build_id");
  const auto bytes = member && member->size <= kMaxBuildId
                         ? kernel.memory().read_bytes(module.struct_at + member->offset,
                                                      static_cast<std::size_t>(member->size))
                         : build_id_note(kernel, module);
  return bytes && !all_zero(*bytes) ? hex_bytes(*bytes) : std::string();
}

}  // namespace

std::uint64_t Module::size() const {
  std::uint64_t sum = 0;
  for (const ModuleRange& range : ranges) sum += range.size;
  return sum;
}

bool Module::contains(VirtAddr at) const {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const ModuleRange& r) { return r.contains(at); });
}

std::vector<Module> read_modules(const Kernel& kernel, std::vector<std::string>& problems) {
  std::vector<Module> modules;
  const auto read_all = [&]() -> Result<void> {
    const Types& types = *HVD_TRY(kernel.need_types());
    const VirtAddr head = HVD_TRY(kernel.symbol("modules"));
    const Member list = HVD_TRY(types.member("module", "list"));
    const Member name = HVD_TRY(types.member("module", "name"));
    return walk_list(kernel.memory(), head, kMaxModules, [&](VirtAddr node) {
      Module module;
      module.struct_at = node - list.offset;
      const auto text = kernel.memory().read_string(module.struct_at + name.offset, kMaxModuleName);
      auto ranges = read_ranges(kernel, module.struct_at);
      if (!text || !ranges) {
        problems.push_back("a module at " + hex(module.struct_at.value) + " cannot be read");
        return true;
      }
      module.name = *text;
      module.ranges = std::move(*ranges);
      module.live = is_live(kernel, module.struct_at);
      module.build_id = read_build_id(kernel, module);
      modules.push_back(std::move(module));
      return true;
    });
  };
  if (auto done = read_all(); !done) problems.push_back("modules: " + done.error().message);
  return modules;
}

std::vector<ModuleSymbol> read_module_symbols(const Kernel& kernel, const Module& module) {
  std::vector<ModuleSymbol> symbols;
  const auto get = [&](const char* type, VirtAddr at, const char* path) -> Result<std::uint64_t> {
    const Types& types = *HVD_TRY(kernel.need_types());
    const Member member = HVD_TRY(types.member(type, path));
    return kernel.field(at, member);
  };
  // module.kallsyms points to a struct mod_kallsyms since v4.5 (commit 8244062ef1e5).
  const auto kallsyms = get("module", module.struct_at, "kallsyms");
  if (!kallsyms) return symbols;
  const auto table = get("mod_kallsyms", VirtAddr{*kallsyms}, "symtab");
  const auto strings = get("mod_kallsyms", VirtAddr{*kallsyms}, "strtab");
  const auto count = get("mod_kallsyms", VirtAddr{*kallsyms}, "num_symtab");
  if (!table || !strings || !count || *count > kMaxModuleSymbols) return symbols;
  for (std::uint64_t i = 0; i < *count; ++i) {
    const auto symbol = kernel.memory().read<ElfSymbol>(VirtAddr{*table} + i * sizeof(ElfSymbol));
    if (!symbol) break;
    if (symbol->shndx == 0 || !module.contains(VirtAddr{symbol->value})) continue;
    const auto name =
        kernel.memory().read_string(VirtAddr{*strings} + symbol->name, kMaxSymbolName);
    // Mapping symbols and section symbols have no name worth showing.
    if (!name || name->empty() || (*name)[0] == '$') continue;
    symbols.push_back({*name, VirtAddr{symbol->value}, symbol->size});
  }
  std::stable_sort(
      symbols.begin(), symbols.end(),
      [](const ModuleSymbol& a, const ModuleSymbol& b) { return a.address < b.address; });
  return symbols;
}

std::vector<ModuleSection> read_module_sections(const Kernel& kernel, const Module& module) {
  std::vector<ModuleSection> sections;
  // struct module_sect_attrs (kernel/module/sysfs.c): a count, then one attribute with name and
  // address per section.
  const auto read_all = [&]() -> Result<void> {
    const Types& types = *HVD_TRY(kernel.need_types());
    const Member attrs = HVD_TRY(types.member("module", "sect_attrs"));
    const Member count = HVD_TRY(types.member("module_sect_attrs", "nsections"));
    const Member first = HVD_TRY(types.member("module_sect_attrs", "attrs"));
    const std::uint64_t stride = HVD_TRY(types.size_of("module_sect_attr"));
    const Member name = HVD_TRY(types.member("module_sect_attr", "battr.attr.name"));
    const Member address = HVD_TRY(types.member("module_sect_attr", "address"));
    const VirtAddr at{HVD_TRY(kernel.field(module.struct_at, attrs))};
    const std::uint64_t sections_count = HVD_TRY(kernel.field(at, count));
    for (std::uint64_t i = 0; i < std::min(sections_count, kMaxModuleSections); ++i) {
      const VirtAddr attr = at + first.offset + i * stride;
      const VirtAddr text{HVD_TRY(kernel.field(attr, name))};
      ModuleSection section;
      section.address = VirtAddr{HVD_TRY(kernel.field(attr, address))};
      section.name = HVD_TRY(kernel.memory().read_string(text, kMaxModuleName));
      sections.push_back(std::move(section));
    }
    return {};
  };
  (void)read_all().has_value();  // what was read is better than nothing
  return sections;
}

const Module* module_named(const std::vector<Module>& modules, std::string_view name) {
  const auto found =
      std::find_if(modules.begin(), modules.end(), [&](const Module& m) { return m.name == name; });
  return found == modules.end() ? nullptr : &*found;
}

// A module's .BTF section is not loaded; the kernel keeps a copy of it in the struct btf of a list
// entry. module.btf_data points to where it was read from.
Result<std::vector<ModuleBtf>> list_module_btfs(const Kernel& kernel) {
  const Types& types = *HVD_TRY(kernel.need_types());
  const VirtAddr head = HVD_TRY(kernel.symbol("btf_modules"));
  const Member list = HVD_TRY(types.member("btf_module", "list"));
  const Member owner = HVD_TRY(types.member("btf_module", "module"));
  const Member btf = HVD_TRY(types.member("btf_module", "btf"));
  std::vector<ModuleBtf> all;
  HVD_TRY(walk_list(kernel.memory(), head, kMaxModules, [&](VirtAddr node) {
    const VirtAddr entry = node - list.offset;
    const auto whose = kernel.field(entry, owner), copy = kernel.field(entry, btf);
    if (whose && copy) all.push_back({entry, VirtAddr{*whose}, VirtAddr{*copy}});
    return true;
  }));
  return all;
}

Result<std::pair<VirtAddr, std::uint64_t>> btf_data(const Kernel& kernel, VirtAddr btf) {
  const Types& types = *HVD_TRY(kernel.need_types());
  const Member data = HVD_TRY(types.member("btf", "data"));
  const Member size = HVD_TRY(types.member("btf", "data_size"));
  const VirtAddr at{HVD_TRY(kernel.field(btf, data))};
  const std::uint64_t bytes = HVD_TRY(kernel.field(btf, size));
  if (bytes > kMaxModuleBtf) return Error{ErrorCode::kCorrupt, "it claims too large a BTF"};
  return std::pair{at, bytes};
}

Result<Types> read_module_types(const Kernel& kernel, const Module& module) {
  const Types& types = *HVD_TRY(kernel.need_types());
  const std::vector<ModuleBtf> all = HVD_TRY(list_module_btfs(kernel));
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const ModuleBtf& btf) { return btf.module == module.struct_at; });
  if (found == all.end())
    return Error{ErrorCode::kNotFound, "module " + module.name + " has no BTF"};
  const auto [at, bytes] =
      HVD_TRY(with_context(btf_data(kernel, found->btf), "module " + module.name));
  const Bytes raw = HVD_TRY(kernel.memory().read_bytes(at, static_cast<std::size_t>(bytes)));
  return Types::parse_split(raw, types);
}

}  // namespace hvd::linux_guest
