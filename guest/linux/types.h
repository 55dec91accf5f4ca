// Types: the kernel's structures by name, from the BTF in its own memory
// (Documentation/bpf/btf.rst), read by libbpf.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

struct btf;

namespace hvd::linux_guest {

struct Member {
  std::uint64_t offset = 0;    // bytes
  std::uint64_t size = 0;      // bytes; 0 when the type has none (a flexible array)
  unsigned bit_offset = 0;     // within the byte at `offset`, for a bit field
  unsigned bit_size = 0;       // 0: not a bit field
  std::uint32_t type = 0;      // BTF type id, for Types' other calls
  std::uint64_t elements = 0;  // of an array, else 0
};

class Types {
 public:
  /// `btf` as it lies between __start_BTF and __stop_BTF; kCorrupt when libbpf refuses it.
  static Result<Types> parse(ByteView btf);
  /// A module's own types, on top of the kernel's; `base` must outlive the result.
  static Result<Types> parse_split(ByteView btf, const Types& base);

  Types(Types&&) noexcept;
  Types& operator=(Types&&) noexcept;
  ~Types();

  /// Bytes; kNotFound when there is no struct or union of that name.
  Result<std::uint64_t> size_of(std::string_view name) const;
  /// `path` is "member" or "member.inner", through anonymous structs and unions; kNotFound naming
  /// what is missing.
  Result<Member> member(std::string_view name, std::string_view path) const;
  /// The first of several spellings that exists: structures change between kernels.
  Result<Member> first_member_of(std::string_view name,
                                 std::initializer_list<std::string_view> paths) const;
  bool has(std::string_view name) const;
  /// The value of an enumerator; kNotFound.
  Result<std::uint64_t> enumerator(std::string_view name) const;

 private:
  struct Names;
  Types() = default;
  static Result<Types> from(struct btf* handle, std::uint32_t first_id);
  std::optional<std::uint32_t> find_struct(std::string_view name) const;
  std::optional<Member> find_member(std::uint32_t type, std::string_view name, unsigned depth,
                                    unsigned& budget) const;
  std::uint32_t resolved(std::uint32_t type) const;
  void fill_size(Member& member) const;

  struct Free {
    void operator()(struct btf* handle) const;
  };
  std::unique_ptr<struct btf, Free> handle_;
  std::unique_ptr<Names> names_;
  const Types* base_ = nullptr;
};

}  // namespace hvd::linux_guest
