#include "base/address.h"

namespace hvd {

std::vector<PhysRange> normalised(std::vector<PhysRange> ranges) {
  for (PhysRange& range : ranges)
    range.size = std::min(range.size, ~std::uint64_t{0} - range.begin.value);
  std::erase_if(ranges, [](const PhysRange& r) { return r.size == 0; });
  std::sort(ranges.begin(), ranges.end());
  std::vector<PhysRange> out;
  for (const PhysRange& range : ranges) {
    if (!out.empty() && range.begin.value - out.back().begin.value <= out.back().size) {
      const std::uint64_t reach = range.begin.value - out.back().begin.value + range.size;
      out.back().size = std::max(out.back().size, reach);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

std::uint64_t total_size(const std::vector<PhysRange>& ranges) {
  std::uint64_t sum = 0;
  for (const PhysRange& range : ranges) sum += range.size;
  return sum;
}

}  // namespace hvd
