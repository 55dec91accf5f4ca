// Integers as they lie in files and guest memory: bytes in a stated order, alignment 1.
//
// A wire struct made of these can be copied from any offset on any machine, and forgetting to
// convert is a type error instead of a bug that only big-endian users meet.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace hvd {

template <typename T, std::endian Order>
class EndianInteger {
 public:
  EndianInteger() = default;
  EndianInteger(T value) { store(value); }  // NOLINT: wire fields are assigned like integers

  operator T() const {  // NOLINT
    T value;
    std::memcpy(&value, bytes_, sizeof value);
    return Order == std::endian::native ? value : swapped(value);
  }

 private:
  static T swapped(T value) {
    T out = 0;
    for (unsigned i = 0; i < sizeof(T); ++i) {
      out = static_cast<T>(static_cast<T>(out << 8) | static_cast<T>((value >> (8 * i)) & 0xff));
    }
    return out;
  }
  void store(T value) {
    const T raw = Order == std::endian::native ? value : swapped(value);
    std::memcpy(bytes_, &raw, sizeof raw);
  }
  unsigned char bytes_[sizeof(T)] = {};
};

using le16 = EndianInteger<std::uint16_t, std::endian::little>;
using le32 = EndianInteger<std::uint32_t, std::endian::little>;
using le64 = EndianInteger<std::uint64_t, std::endian::little>;

/// A struct that may be copied to and from untrusted bytes at any offset.
template <typename T>
concept WireStruct =
    std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> && alignof(T) == 1;

}  // namespace hvd
