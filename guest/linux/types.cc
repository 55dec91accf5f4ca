#include "guest/linux/types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <unordered_map>

#include "base/file_descriptor.h"

namespace hvd::linux_guest {
namespace {

constexpr unsigned kMaxDepth = 8;  // of anonymous structures in each other
constexpr unsigned kMaxMembers =
    100000;  // looked at for one name; a structure may hold itself in many places
constexpr unsigned kMaxModifiers = 32;  // const, volatile, typedef chains
constexpr std::uint64_t kMaxElements = 1u << 24;

}  // namespace

struct Types::Names {
  std::unordered_map<std::string_view, std::uint32_t> structs;
  std::unordered_map<std::string_view, std::uint64_t> enumerators;
};

void Types::Free::operator()(struct btf* handle) const { btf__free(handle); }
Types::Types(Types&&) noexcept = default;
Types& Types::operator=(Types&&) noexcept = default;
Types::~Types() = default;

Result<Types> Types::parse(ByteView bytes) {
  // libbpf prints what it does not like; that is for our message to say.
  libbpf_set_print(nullptr);
  struct btf* handle = btf__new(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  if (!handle) return Error{ErrorCode::kCorrupt, "the kernel's BTF is damaged"};
  return from(handle, 1);
}

Result<Types> Types::parse_split(ByteView bytes, const Types& base) {
  // libbpf 1.1 declares btf__new_split and does not export it; the call that takes a path is there.
  FileDescriptor file(::memfd_create("btf", MFD_CLOEXEC));
  if (!file ||
      ::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return errno_error("cannot hand BTF to libbpf");
  }
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  struct btf* handle = btf__parse_raw_split(path.c_str(), base.handle_.get());
  if (!handle) return Error{ErrorCode::kCorrupt, "a module's BTF is damaged"};
  Types types = HVD_TRY(from(handle, btf__type_cnt(base.handle_.get())));
  types.base_ = &base;
  return types;
}

Result<Types> Types::from(struct btf* handle, std::uint32_t first_id) {
  Types types;
  types.handle_.reset(handle);
  types.names_ = std::make_unique<Names>();
  // libbpf finds a name by walking over all 150,000 types; one walk of ours serves every question.
  const std::uint32_t count = btf__type_cnt(handle);
  types.names_->structs.reserve(count / 8);
  for (std::uint32_t id = first_id; id < count; ++id) {
    const btf_type* type = btf__type_by_id(handle, id);
    if (!type) break;
    const auto kind = btf_kind(type);
    if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) {
      const char* name = btf__name_by_offset(handle, type->name_off);
      if (name && *name) types.names_->structs.emplace(name, id);
    } else if (kind == BTF_KIND_ENUM) {
      const struct btf_enum* values = btf_enum(type);
      for (unsigned i = 0; i < btf_vlen(type); ++i) {
        const char* name = btf__name_by_offset(handle, values[i].name_off);
        if (name)
          types.names_->enumerators.emplace(
              name, static_cast<std::uint64_t>(std::int64_t{values[i].val}));
      }
    }
  }
  return types;
}

std::optional<std::uint32_t> Types::find_struct(std::string_view name) const {
  if (const auto at = names_->structs.find(name); at != names_->structs.end()) return at->second;
  return base_ ? base_->find_struct(name) : std::nullopt;
}

bool Types::has(std::string_view name) const { return find_struct(name).has_value(); }

std::uint32_t Types::resolved(std::uint32_t id) const {
  for (unsigned i = 0; i < kMaxModifiers; ++i) {
    const btf_type* type = btf__type_by_id(handle_.get(), id);
    if (!type || !(btf_is_mod(type) || btf_is_typedef(type))) return id;
    id = type->type;
  }
  return 0;
}

Result<std::uint64_t> Types::size_of(std::string_view name) const {
  const auto id = find_struct(name);
  if (!id) return Error{ErrorCode::kNotFound, "the kernel has no struct " + std::string(name)};
  const btf_type* type = btf__type_by_id(handle_.get(), *id);
  return std::uint64_t{type->size};
}

void Types::fill_size(Member& member) const {
  const btf_type* type = btf__type_by_id(handle_.get(), resolved(member.type));
  std::uint64_t elements = 1;
  for (unsigned i = 0; type && btf_is_array(type) && i < kMaxModifiers; ++i) {
    const struct btf_array* array = btf_array(type);
    elements *= std::min<std::uint64_t>(array->nelems, kMaxElements);
    if (elements > kMaxElements) elements = kMaxElements;
    member.elements = elements;
    type = btf__type_by_id(handle_.get(), resolved(array->type));
  }
  if (!type) return;
  const bool pointer = btf_is_ptr(type);
  const bool sized =
      btf_is_int(type) || btf_is_composite(type) || btf_is_any_enum(type) || btf_is_float(type);
  member.size = elements * (pointer ? 8 : sized ? type->size : 0);
}

std::optional<Member> Types::find_member(std::uint32_t id, std::string_view name, unsigned depth,
                                         unsigned& budget) const {
  const btf_type* type = btf__type_by_id(handle_.get(), resolved(id));
  if (!type || !btf_is_composite(type) || depth > kMaxDepth) return std::nullopt;
  const btf_member* members = btf_members(type);
  for (unsigned i = 0; i < btf_vlen(type) && budget > 0; ++i) {
    --budget;
    const char* member_name = btf__name_by_offset(handle_.get(), members[i].name_off);
    const std::uint32_t bits = btf_member_bit_offset(type, i);
    if (member_name && name == member_name) {
      Member out;
      out.type = members[i].type;
      out.offset = bits / 8;
      out.bit_offset = bits % 8;
      out.bit_size = btf_member_bitfield_size(type, i);
      fill_size(out);
      return out;
    }
    if (member_name && *member_name) continue;
    if (auto inner = find_member(members[i].type, name, depth + 1, budget)) {
      inner->offset += bits / 8;
      return inner;
    }
  }
  return std::nullopt;
}

Result<Member> Types::member(std::string_view name, std::string_view path) const {
  const auto id = find_struct(name);
  const Error missing{ErrorCode::kNotFound,
                      "the kernel has no " + std::string(name) + "." + std::string(path)};
  if (!id) return missing;
  Member out;
  out.type = *id;
  while (!path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    unsigned budget = kMaxMembers;
    auto next = find_member(out.type, path.substr(0, dot), 0, budget);
    if (!next) return missing;
    next->offset += out.offset;
    out = *next;
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return out;
}

Result<Member> Types::first_member_of(std::string_view name,
                                      std::initializer_list<std::string_view> paths) const {
  for (std::string_view path : paths) {
    if (auto found = member(name, path)) return found;
  }
  return Error{ErrorCode::kNotFound,
               "the kernel has no " + std::string(name) + "." + std::string(*paths.begin())};
}

Result<std::uint64_t> Types::enumerator(std::string_view name) const {
  if (const auto at = names_->enumerators.find(name); at != names_->enumerators.end())
    return at->second;
  if (base_) return base_->enumerator(name);
  return Error{ErrorCode::kNotFound, "the kernel has no enumerator " + std::string(name)};
}

}  // namespace hvd::linux_guest
