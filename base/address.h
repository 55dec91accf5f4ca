// Addresses that cannot be mixed up, and half-open ranges of them.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

namespace hvd {

inline constexpr std::uint64_t kPageSize = 4096;

/// A guest-physical address (or, for a process partition, an address of that process).
struct PhysAddr {
  std::uint64_t value = 0;
  auto operator<=>(const PhysAddr&) const = default;
};

/// An address as the guest's CPU sees it.
struct VirtAddr {
  std::uint64_t value = 0;
  auto operator<=>(const VirtAddr&) const = default;
};

inline PhysAddr operator+(PhysAddr a, std::uint64_t n) { return {a.value + n}; }
inline VirtAddr operator+(VirtAddr a, std::uint64_t n) { return {a.value + n}; }
inline VirtAddr operator-(VirtAddr a, std::uint64_t n) { return {a.value - n}; }
inline std::uint64_t operator-(VirtAddr a, VirtAddr b) { return a.value - b.value; }

/// [begin, begin + size). Membership is tested as `address - begin < size`: no end is computed, so
/// none overflows.
struct PhysRange {
  PhysAddr begin;
  std::uint64_t size = 0;
  bool contains(PhysAddr at) const { return at.value - begin.value < size; }
  auto operator<=>(const PhysRange&) const = default;
};

/// Sorts, drops empty ranges and joins those that touch or overlap. Ranges that would wrap past
/// 2^64 are cut there.
std::vector<PhysRange> normalised(std::vector<PhysRange> ranges);

/// The sum of the sizes.
std::uint64_t total_size(const std::vector<PhysRange>& ranges);

}  // namespace hvd
