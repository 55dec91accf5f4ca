// Repeats: which pages of a segment hold what an earlier one holds. They refer to it and are stored
// once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>

#include "base/bytes.h"

namespace hvd::format {

class Repeats {
 public:
  /// The earlier page of the same contents, if it was found; else `page` counts as stored. Pages
  /// that differ are never taken for equal; of a page's copies two may be stored, since the first
  /// is known only as long as its bytes are at hand. `waiting` are the pages stored last,
  /// increasing, and `waiting_bytes` their contents.
  std::optional<std::uint16_t> find_or_add(std::uint16_t page, ByteView contents,
                                           std::span<const std::uint16_t> waiting,
                                           ByteView waiting_bytes);

 private:
  /// Equal pages have equal tags, different ones do not.
  using Tag = std::array<std::uint64_t, 2>;
  struct TagHash {
    std::size_t operator()(const Tag& tag) const { return tag[0]; }
  };
  static Tag tag_of(ByteView page);

  std::unordered_map<std::uint64_t, std::uint16_t> sketched_;  // the first page of each sketch
  std::unordered_map<Tag, std::uint16_t, TagHash> tagged_;     // pages whose sketch was not new
};

}  // namespace hvd::format
