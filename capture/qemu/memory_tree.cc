#include "capture/qemu/memory_tree.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace hvd {
namespace {

std::optional<std::uint64_t> hex_prefix(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool skip(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

// "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM" or with " @0000000000100000"
// before KVM.
std::optional<FlatRange> parse_range(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto first = hex_prefix(line);
  if (!first || !skip(line, "-")) return std::nullopt;
  const auto last = hex_prefix(line);
  if (!last || *last < *first || !skip(line, " (prio ")) return std::nullopt;
  const std::size_t comma = line.find(", ");
  const std::size_t close = line.find("): ");
  if (comma == std::string_view::npos || close == std::string_view::npos || close < comma)
    return std::nullopt;
  FlatRange out;
  out.range = {PhysAddr{*first}, *last - *first == ~std::uint64_t{0} ? *last : *last - *first + 1};
  out.kind = std::string(line.substr(comma + 2, close - comma - 2));
  if (const std::size_t extra = out.kind.find(", "); extra != std::string::npos)
    out.kind.resize(extra);
  std::string_view name = line.substr(close + 3);
  while (!name.empty() && (name.back() == '\r' || name.back() == ' ')) name.remove_suffix(1);
  if (const std::size_t offset = name.find(" @"); offset != std::string_view::npos)
    name = name.substr(0, offset);
  if (name.ends_with(" KVM")) name.remove_suffix(4);
  out.region = std::string(name);
  return out;
}

}  // namespace

std::vector<FlatRange> parse_flat_view(std::string_view mtree) {
  std::vector<FlatRange> view;
  bool ours = false;
  while (!mtree.empty()) {
    const std::size_t end = std::min(mtree.find('\n'), mtree.size());
    const std::string_view line = mtree.substr(0, end);
    mtree.remove_prefix(std::min(end + 1, mtree.size()));
    if (line.starts_with("FlatView")) {
      if (ours) break;  // behind the view that `memory` uses
      view.clear();
    } else if (line.starts_with(" AS \"memory\"")) {
      ours = true;
    } else if (auto range = parse_range(line)) {
      view.push_back(std::move(*range));
    }
  }
  if (!ours) view.clear();
  return view;
}

}  // namespace hvd
