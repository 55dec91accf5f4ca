#include "capture/budget.h"

#include <charconv>

namespace hvd {

Result<std::uint64_t> parse_size(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, value);
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  constexpr std::string_view kUnits = "KMGT";
  unsigned shift = 0;
  const std::size_t at = unit.size() == 1 ? kUnits.find(unit[0]) : std::string_view::npos;
  if (at != std::string_view::npos) shift = 10 * (static_cast<unsigned>(at) + 1);
  if (failed != std::errc{} || (!unit.empty() && shift == 0) || value > ~std::uint64_t{0} >> shift)
    return Error{ErrorCode::kInvalidArgument,
                 text + " is not a size: expected a number with K, M, G or T"};
  return value << shift;
}

}  // namespace hvd
