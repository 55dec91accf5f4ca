// Names of bug check codes and what their parameters say (Microsoft's "Bug Check Code Reference").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hvd::windows {

/// "DRIVER_IRQL_NOT_LESS_OR_EQUAL"; empty for a code that is not known. Codes with the bit that
/// minidumps add (0x10000000) have names that end in "_M".
std::string bugcheck_name(std::uint32_t code);

/// The code without the bit that minidumps add: 0x7e for 0x1000007e.
std::uint32_t plain_bugcheck(std::uint32_t code);

/// What each parameter is; null for codes whose parameters are not described here.
const std::array<std::string_view, 4>* bugcheck_parameters(std::uint32_t code);

/// Which parameter, if any, is the address of the instruction that failed.
std::optional<std::size_t> faulting_address(std::uint32_t code);

/// Names of the NTSTATUS codes that exceptions have; empty for others.
std::string_view status_name(std::uint32_t status);

}  // namespace hvd::windows
