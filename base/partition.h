// The vocabulary of a captured machine: partitions, page classes and the reasons for absent pages.
//
// These are the names that formats write, applications show and reports carry. Their numbers are
// part of the .hvd format (formats/hvd/SPEC.md, "Codes") and never change meaning.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

using DumpId = std::array<std::uint8_t, 16>;

enum class Role : std::uint8_t { kHypervisor, kDump, kGuest };
enum class PartitionState : std::uint8_t {
  kCaptured,
  kStateless,
  kSealedOnly,
  kIncomplete,
  kFailed
};

/// Whose and what kind of memory a page is. Each class of a sealed partition has a key of its own.
enum class PageClass : std::uint8_t { kKernel, kUser, kPageCache, kVmm, kRegisters, kUnclassified };
inline constexpr std::size_t kPageClassCount = 6;

/// Why a page that belongs to a partition is not stored with its contents.
enum class Absence : std::uint8_t {
  kZero,  // every byte is zero: readable, though nothing is stored
  kStateless,
  kFilteredFree,
  kFilteredClass,
  kRestricted,
  kUnreadable,
  kRedacted,
  kBudget,
  kSwapped,  // was on the host's swap device
};
inline constexpr std::size_t kAbsenceCount = 9;

std::string_view name_of(Role role);
std::string_view name_of(PartitionState state);
std::string_view name_of(PageClass page_class);
std::string_view name_of(Absence reason);
std::optional<Role> role_from(std::string_view name);
std::optional<PartitionState> state_from(std::string_view name);
std::optional<PageClass> page_class_from(std::string_view name);

/// Each of `names`; kInvalidArgument for one that is none.
Result<std::vector<PageClass>> page_classes_from(const std::vector<std::string>& names);

/// An ELF note as debuggers know it: owner name ("CORE", "VMCOREINFO"), type, contents.
struct Note {
  std::string name;
  std::uint32_t type = 0;
  Bytes contents;
};

}  // namespace hvd
