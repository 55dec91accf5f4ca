#include "guest/linux/symbol_names.h"

#include <algorithm>
#include <bit>

#include "base/byte_reader.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kTokens = 256;
constexpr std::size_t kMaxToken = 1024;
constexpr std::size_t kMaxName = 2048;  // characters, with the type
constexpr std::size_t kMaxNamesBytes = 64u << 20;
// Of a name on average: in a table that is at most two thirds full there are about two, unless the
// names were made to have more.
constexpr std::uint64_t kMaxCollisions = 64;

// A polynomial in kFactor, so that the hash of a text follows from those of its parts.
constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0;
  for (const char c : text) hash = hash * kFactor + static_cast<unsigned char>(c);
  return hash;
}

// A polynomial's low bits depend on the low bits of its characters alone.
std::size_t place_of(std::uint64_t hash) {
  hash = (hash ^ hash >> 32) * kFactor;
  return static_cast<std::size_t>(hash ^ hash >> 29);
}

Result<std::vector<std::string>> read_tokens(const VirtualMemory& memory, VirtAddr table,
                                             VirtAddr index) {
  const Bytes raw_index = HVD_TRY(memory.read_bytes(index, kTokens * 2));
  ByteReader in(raw_index, "kallsyms token index");
  std::vector<std::string> tokens;
  std::uint32_t expected = 0;
  for (std::size_t i = 0; i < kTokens; ++i) {
    const std::uint16_t offset = in.read<le16>();
    if (offset != expected)
      in.fail("entry " + std::to_string(i) + " is " + std::to_string(offset) + " instead of " +
              std::to_string(expected));
    if (!in.ok()) break;
    auto token = memory.read_string(table + offset, kMaxToken);
    if (!token) {
      in.fail("points outside memory");
      break;
    }
    expected = static_cast<std::uint32_t>(offset + token->size() + 1);
    tokens.push_back(std::move(*token));
  }
  HVD_TRY(in.finish());
  return tokens;
}

}  // namespace

// Names longer than 127 tokens have a second length byte (commit 73bbb94466fd, "kallsyms: support
// "big" kernel symbols"); before, the top bit was never set.
std::size_t name_length_at(ByteView bytes, std::size_t& at) {
  std::size_t length = std::to_integer<std::size_t>(bytes[at++]);
  if (length & 0x80) length = (length & 0x7f) | std::to_integer<std::size_t>(bytes[at++]) << 7;
  return length;
}

SymbolNames::Token SymbolNames::token_of(std::string text) {
  Token token{std::move(text)};
  token.hash = hash_of(token.text);
  for (std::size_t i = 0; i < token.text.size(); ++i) token.power *= kFactor;
  return token;
}

// They have no stated length: read on in steps until there are as many as wanted.
Result<void> SymbolNames::read_names(const VirtualMemory& memory, VirtAddr at,
                                     std::uint64_t count) {
  constexpr std::size_t kStep = 256u << 10;
  constexpr std::size_t kLongest = 2 + 0x7fff;  // of a name as it is kept
  begins_.reserve(count);
  // Address space only; more than a name's usual share is grown into.
  bytes_.reserve(std::min<std::uint64_t>(count * 24 + kStep, kMaxNamesBytes));
  std::size_t position = 0;
  bool more = true;
  while (begins_.size() < count) {
    while (more && position + kLongest > bytes_.size()) {
      if (bytes_.size() >= kMaxNamesBytes)
        return Error{ErrorCode::kCorrupt, "kallsyms names have no end"};
      const std::size_t had = bytes_.size();
      bytes_.resize(had + kStep);
      if (memory.read(at + had, MutableBytes(bytes_).subspan(had))) continue;
      // The last step may run past the mapped kernel image: take what is there, page by page.
      std::size_t good = had;
      while (
          good < had + kStep &&
          memory.read(at + good, MutableBytes(bytes_).subspan(
                                     good, std::min<std::size_t>(kPageSize, had + kStep - good)))) {
        good += kPageSize;
      }
      bytes_.resize(std::min(good, had + kStep));
      more = false;
    }
    if (position + 2 > bytes_.size()) return Error{ErrorCode::kCorrupt, "kallsyms names end early"};
    begins_.push_back(static_cast<std::uint32_t>(position));
    const std::size_t length = name_length_at(bytes_, position);
    if (length == 0 || length > bytes_.size() - position)
      return Error{ErrorCode::kCorrupt, "a kallsyms name has no valid length"};
    position += length;
  }
  bytes_.resize(position);
  return {};
}

Result<void> SymbolNames::index() {
  table_.assign(std::bit_ceil(size() + size() / 2 + 1), 0);
  const std::size_t mask = table_.size() - 1;
  std::uint64_t collisions = 0;
  for (std::uint32_t i = 0; i < size(); ++i) {
    std::size_t length = 0;
    std::uint64_t hash = 0;
    for (const std::byte number : tokens_of(i)) {
      const auto at = std::to_integer<std::size_t>(number);
      // The name begins behind the first character.
      const Token& token = length == 0 ? tails_[at] : tokens_[at];
      hash = hash * token.power + token.hash;
      length += tokens_[at].text.size();
      if (length > kMaxName) break;
    }
    if (length == 0 || length > kMaxName) {
      return Error{
          ErrorCode::kCorrupt,
          "a kallsyms name has " + std::string(length ? "too many" : "no") + " characters"};
    }
    std::string name;  // written out only where something is to be compared with it
    std::size_t place = place_of(hash) & mask;
    for (; table_[place] != 0; place = (place + 1) & mask) {
      if (name.empty()) name = (*this)[i];
      // The others of one name need no place, however many there are.
      if (is(table_[place] - 1, name)) break;
      if (++collisions > kMaxCollisions * size())
        return Error{ErrorCode::kCorrupt, "kallsyms names were made to have one hash"};
    }
    if (table_[place] == 0) table_[place] = i + 1;
  }
  return {};
}

Result<SymbolNames> SymbolNames::read(const VirtualMemory& memory, VirtAddr names,
                                      VirtAddr token_table, VirtAddr token_index,
                                      std::uint64_t count) {
  SymbolNames out;
  for (std::string& text : HVD_TRY(read_tokens(memory, token_table, token_index))) {
    out.tails_.push_back(token_of(text.empty() ? text : text.substr(1)));
    out.tokens_.push_back(token_of(std::move(text)));
  }
  HVD_TRY(out.read_names(memory, names, count));
  HVD_TRY(out.index());
  return out;
}

ByteView SymbolNames::tokens_of(std::size_t index) const {
  std::size_t at = begins_[index];
  const std::size_t length = name_length_at(bytes_, at);
  return ByteView(bytes_).subspan(at, length);
}

std::string SymbolNames::operator[](std::size_t index) const {
  std::string out;
  for (const std::byte token : tokens_of(index))
    out += tokens_[std::to_integer<std::size_t>(token)].text;
  return out.substr(1);
}

bool SymbolNames::is(std::size_t index, std::string_view name) const {
  bool typed = false;
  for (const std::byte number : tokens_of(index)) {
    const auto at = std::to_integer<std::size_t>(number);
    const std::string& text = typed ? tokens_[at].text : tails_[at].text;
    typed = typed || !tokens_[at].text.empty();
    if (!name.starts_with(text)) return false;
    name.remove_prefix(text.size());
  }
  return name.empty();
}

std::optional<std::uint32_t> SymbolNames::find(std::string_view name) const {
  if (table_.empty()) return std::nullopt;
  const std::size_t mask = table_.size() - 1;
  std::size_t place = place_of(hash_of(name)) & mask;
  for (; table_[place] != 0; place = (place + 1) & mask) {
    if (is(table_[place] - 1, name)) return table_[place] - 1;
  }
  return std::nullopt;
}

}  // namespace hvd::linux_guest
