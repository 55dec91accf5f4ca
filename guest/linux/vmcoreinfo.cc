#include "guest/linux/vmcoreinfo.h"

#include <algorithm>
#include <charconv>

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxLines = 4096;

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<VmcoreInfo> VmcoreInfo::parse(std::string_view text) {
  if (!text.starts_with("OSRELEASE="))
    return Error{ErrorCode::kCorrupt, "VMCOREINFO does not begin with OSRELEASE="};
  text = text.substr(0, std::min(text.find('\0'), text.size()));
  VmcoreInfo info;
  while (!text.empty() && info.values_.size() < kMaxLines) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t mark = line.find('=');
    if (mark != std::string_view::npos)
      info.values_.emplace(line.substr(0, mark), line.substr(mark + 1));
  }
  return info;
}

std::optional<std::string> VmcoreInfo::text(const std::string& key) const {
  const auto at = values_.find(key);
  if (at == values_.end()) return std::nullopt;
  return at->second;
}

std::optional<VirtAddr> VmcoreInfo::symbol(const std::string& name) const {
  const auto value = text("SYMBOL(" + name + ")");
  const auto number = value ? parse_number(*value, 16) : std::nullopt;
  if (!number) return std::nullopt;
  return VirtAddr{*number};
}

std::optional<std::int64_t> VmcoreInfo::number(const std::string& name) const {
  const auto value = text("NUMBER(" + name + ")");
  if (!value) return std::nullopt;
  std::string_view digits = *value;
  const bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  const bool is_hex = digits.starts_with("0x");
  const auto number = parse_number(is_hex ? digits.substr(2) : digits, is_hex ? 16 : 10);
  if (!number) return std::nullopt;
  return static_cast<std::int64_t>(negative ? 0 - *number : *number);
}

std::optional<std::uint64_t> VmcoreInfo::offset(const std::string& member) const {
  const auto value = text("OFFSET(" + member + ")");
  return value ? parse_number(*value, 10) : std::nullopt;
}

std::optional<std::uint64_t> VmcoreInfo::size(const std::string& type) const {
  const auto value = text("SIZE(" + type + ")");
  return value ? parse_number(*value, 10) : std::nullopt;
}

std::optional<std::uint64_t> VmcoreInfo::kaslr_offset() const {
  const auto value = text("KERNELOFFSET");
  return value ? parse_number(*value, 16) : std::nullopt;
}

std::optional<PhysAddr> VmcoreInfo::page_table_root() const {
  auto root = symbol("init_top_pgt");
  if (!root) root = symbol("swapper_pg_dir");
  if (!root || root->value < kKernelTextMap) return std::nullopt;
  return PhysAddr{root->value - kKernelTextMap + static_cast<std::uint64_t>(phys_base())};
}

}  // namespace hvd::linux_guest
