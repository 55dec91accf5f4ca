// BTF by the line: a kernel's types for tests, made with libbpf itself.
#pragma once

#include <bpf/btf.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hvd {

class BtfBuilder {
 public:
  struct Field {
    std::string name;
    std::string type;          // u8 u16 u32 u64, ptr, char[N], a struct's name, or STRUCT[N]
    std::uint32_t offset = 0;  // bytes; for bit fields `bit` counts from there
    std::uint32_t bit = 0, bits = 0;
  };

  BtfBuilder() : btf_(btf__new_empty()) {
    for (const auto& [name, size] :
         {std::pair{"u8", 1}, {"u16", 2}, {"u32", 4}, {"u64", 8}, {"char", 1}}) {
      ids_[name] = btf__add_int(btf_, name, static_cast<std::size_t>(size), 0);
    }
    ids_["ptr"] = btf__add_ptr(btf_, 0);
  }
  BtfBuilder(const BtfBuilder&) = delete;
  BtfBuilder& operator=(const BtfBuilder&) = delete;
  ~BtfBuilder() { btf__free(btf_); }

  /// An anonymous one has an empty name and goes by `label` in later fields.
  BtfBuilder& structure(const std::string& name, std::uint32_t size,
                        const std::vector<Field>& fields, const std::string& label = {}) {
    std::vector<int> types;
    for (const Field& field : fields) types.push_back(type_id(field.type));
    const int id = btf__add_struct(btf_, name.empty() ? nullptr : name.c_str(), size);
    EXPECT_GT(id, 0) << name;
    ids_[label.empty() ? name : label] = id;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const Field& field = fields[i];
      const int type =
          types[i] < 0 ? id
                       : types[i];  // "self": a structure that holds itself, as no compiler makes
      EXPECT_EQ(btf__add_field(btf_, field.name.empty() ? nullptr : field.name.c_str(), type,
                               field.offset * 8 + field.bit, field.bits),
                0)
          << name << "." << field.name;
    }
    return *this;
  }

  BtfBuilder& enumeration(const std::string& name,
                          const std::vector<std::pair<std::string, int>>& values) {
    EXPECT_GT(btf__add_enum(btf_, name.c_str(), 4), 0) << name;
    for (const auto& [value_name, value] : values)
      EXPECT_EQ(btf__add_enum_value(btf_, value_name.c_str(), value), 0) << value_name;
    return *this;
  }

  Bytes build() const {
    std::uint32_t size = 0;
    const void* raw = btf__raw_data(btf_, &size);
    const auto* begin = static_cast<const std::byte*>(raw);
    return Bytes(begin, begin + size);
  }

 private:
  int type_id(const std::string& type) {
    if (type == "self") return -1;
    if (const auto at = ids_.find(type); at != ids_.end()) return at->second;
    const std::size_t bracket = type.find('[');
    EXPECT_NE(bracket, std::string::npos) << "no type " << type;
    if (bracket == std::string::npos) return 0;
    const int element = type_id(type.substr(0, bracket));
    return ids_[type] =
               btf__add_array(btf_, ids_["u32"], element,
                              static_cast<std::uint32_t>(std::stoul(type.substr(bracket + 1))));
  }
  struct btf* btf_;
  std::map<std::string, int> ids_;
};

/// The structures that tasks, modules, logs and stacks are read by, at offsets of our own choosing:
/// nothing may depend on those of a real kernel.
inline void add_kernel_types(BtfBuilder& btf, bool old_orc = false) {
  btf.structure("list_head", 16, {{"next", "ptr", 0}, {"prev", "ptr", 8}});
  btf.structure("thread_info", 8, {{"flags", "u32", 0}, {"cpu", "u32", 4}});
  btf.structure("thread_struct", 16, {{"sp", "u64", 8}});
  btf.structure("signal_struct", 24, {{"nr", "u64", 0}, {"thread_head", "list_head", 8}});
  btf.structure("task_struct", 160,
                {{"thread_info", "thread_info", 0},
                 {"__state", "u32", 8},
                 {"tasks", "list_head", 16},
                 {"pid", "u32", 32},
                 {"tgid", "u32", 36},
                 {"comm", "char[16]", 40},
                 {"exit_state", "u32", 56},
                 {"signal", "ptr", 64},
                 {"thread_node", "list_head", 72},
                 {"thread", "thread_struct", 88},
                 {"on_cpu", "u32", 104},
                 {"flags", "u32", 108},
                 {"stack", "ptr", 112},
                 {"mm", "ptr", 120}});
  // FPU state is behind the structure.
  btf.structure("pt_regs", 168, {{"r15", "u64", 0}});
  btf.structure("thread_union", 4096, {{"task", "u64", 0}});
  btf.enumeration("pageflags", {{"PG_slab", 9}, {"PG_reserved", 14}, {"PG_hwpoison", 21}});
  btf.structure("page", 64,
                {{"flags", "u64", 0},
                 {"compound_head", "u64", 8},
                 {"mapping", "ptr", 24},
                 {"private", "u64", 40},
                 {"page_type", "u32", 48},
                 {"_refcount", "u32", 52}});
  btf.structure("slab", 64, {{"slab_cache", "ptr", 24}});
  btf.structure("kmem_cache", 64,
                {{"size", "u32", 0},
                 {"refcount", "u32", 4},
                 {"red_left_pad", "u32", 8},
                 {"name", "ptr", 16},
                 {"list", "list_head", 24}});
  btf.structure("inactive_task_frame", 16, {{"bp", "u64", 0}, {"ret_addr", "u64", 8}});
  btf.structure("module_memory", 16, {{"base", "ptr", 0}, {"size", "u32", 8}});
  btf.structure("mod_kallsyms", 32,
                {{"symtab", "ptr", 0}, {"num_symtab", "u32", 8}, {"strtab", "ptr", 16}});
  btf.structure("mod_arch_specific", 24,
                {{"num_orcs", "u32", 0}, {"orc_unwind_ip", "ptr", 8}, {"orc_unwind", "ptr", 16}});
  btf.enumeration("module_state", {{"MODULE_STATE_LIVE", 0}, {"MODULE_STATE_COMING", 1}});
  btf.structure("module", 256,
                {{"state", "u32", 0},
                 {"list", "list_head", 8},
                 {"name", "char[56]", 24},
                 {"build_id", "u8[20]", 80},
                 {"mem", "module_memory[3]", 104},
                 {"kallsyms", "ptr", 160},
                 {"arch", "mod_arch_specific", 168}});
  btf.structure("xarray", 16, {{"xa_flags", "u32", 4}, {"xa_head", "ptr", 8}});
  btf.structure("xa_node", 544, {{"shift", "u8", 3}, {"slots", "ptr[64]", 32}});
  btf.structure("maple_tree", 16, {{"ma_root", "ptr", 8}});
  btf.structure("maple_range_64", 256, {{"pivot", "ptr[15]", 8}, {"slot", "ptr[16]", 128}});
  btf.structure("maple_arange_64", 256, {{"pivot", "ptr[9]", 8}, {"slot", "ptr[10]", 80}});
  btf.structure("mm_struct", 64,
                {{"mm_mt", "maple_tree", 16},
                 {"pgd", "ptr", 32},
                 {"arg_start", "u64", 40},
                 {"arg_end", "u64", 48}});
  btf.structure("vm_area_struct", 64,
                {{"vm_start", "u64", 0},
                 {"vm_end", "u64", 8},
                 {"vm_flags", "u64", 24},
                 {"vm_pgoff", "u64", 32},
                 {"vm_file", "ptr", 40},
                 {"anon_vma", "ptr", 48}});
  if (old_orc) {  // until v6.3
    btf.structure("orc_entry", 6,
                  {{"sp_offset", "u16", 0},
                   {"bp_offset", "u16", 2},
                   {"sp_reg", "u32", 0, 32, 4},
                   {"bp_reg", "u32", 0, 36, 4},
                   {"type", "u32", 0, 40, 2},
                   {"end", "u32", 0, 42, 1}});
  } else {
    btf.structure("orc_entry", 6,
                  {{"sp_offset", "u16", 0},
                   {"bp_offset", "u16", 2},
                   {"sp_reg", "u32", 0, 32, 4},
                   {"bp_reg", "u32", 0, 36, 4},
                   {"type", "u32", 0, 40, 3},
                   {"signal", "u32", 0, 43, 1}});
  }
}

inline Bytes kernel_btf(bool old_orc = false) {
  BtfBuilder btf;
  add_kernel_types(btf, old_orc);
  return btf.build();
}

}  // namespace hvd
