// SymbolNames: the names of the kernel's symbols as it keeps them (scripts/kallsyms.c): each a
// string of token numbers, where each of the 256 tokens stands for some characters.
//
// They stay compressed here too. A capture kernel has little memory, and who wants a dozen symbols
// need not write out 150,000 names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest/x86_64/virtual_memory.h"

namespace hvd::linux_guest {

class SymbolNames {
 public:
  SymbolNames() = default;
  /// Reads `count` names from `names` on; the caller has bounded it. kCorrupt when these, or the
  /// tokens, are none; an error of the memory's where the tokens cannot be read.
  static Result<SymbolNames> read(const VirtualMemory& memory, VirtAddr names, VirtAddr token_table,
                                  VirtAddr token_index, std::uint64_t count);

  std::size_t size() const { return begins_.size(); }
  /// Without the symbol's type, which the kernel keeps as the first character.
  std::string operator[](std::size_t index) const;
  /// Of several of one name the first.
  std::optional<std::uint32_t> find(std::string_view name) const;

 private:
  // Characters, and what their hash becomes part of a longer text's with.
  struct Token {
    std::string text;
    std::uint64_t hash = 0, power = 1;
  };

  static Token token_of(std::string text);
  Result<void> read_names(const VirtualMemory& memory, VirtAddr at, std::uint64_t count);
  Result<void> index();
  ByteView tokens_of(std::size_t index) const;
  bool is(std::size_t index, std::string_view name) const;

  std::vector<Token> tokens_, tails_;  // a tail is the token without its first character
  Bytes bytes_;
  std::vector<std::uint32_t> begins_;  // of each name in them, at its length
  std::vector<std::uint32_t> table_;   // hash table: index + 1
};

/// How many tokens the name at `at` has, of which two bytes must be there; moves `at` to the first.
std::size_t name_length_at(ByteView bytes, std::size_t& at);

}  // namespace hvd::linux_guest
