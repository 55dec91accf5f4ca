#include "base/partition.h"

namespace hvd {
namespace {

constexpr std::array<std::string_view, 3> kRoles{"hypervisor", "dump", "guest"};
constexpr std::array<std::string_view, 5> kStates{"captured", "stateless", "sealed-only",
                                                  "incomplete", "failed"};
constexpr std::array<std::string_view, kPageClassCount> kClasses{
    "kernel", "user", "page-cache", "vmm", "registers", "unclassified"};
constexpr std::array<std::string_view, kAbsenceCount> kReasons{
    "zero",       "stateless", "filtered-free", "filtered-class", "restricted",
    "unreadable", "redacted",  "budget",        "swapped"};

template <typename E, std::size_t N>
std::string_view lookup_name(const std::array<std::string_view, N>& names, E value) {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : "unknown";
}

template <typename E, std::size_t N>
std::optional<E> lookup_value(const std::array<std::string_view, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Role role) { return lookup_name(kRoles, role); }
std::string_view name_of(PartitionState state) { return lookup_name(kStates, state); }
std::string_view name_of(PageClass page_class) { return lookup_name(kClasses, page_class); }
std::string_view name_of(Absence reason) { return lookup_name(kReasons, reason); }
std::optional<Role> role_from(std::string_view name) { return lookup_value<Role>(kRoles, name); }
std::optional<PartitionState> state_from(std::string_view name) {
  return lookup_value<PartitionState>(kStates, name);
}
std::optional<PageClass> page_class_from(std::string_view name) {
  return lookup_value<PageClass>(kClasses, name);
}

Result<std::vector<PageClass>> page_classes_from(const std::vector<std::string>& names) {
  std::vector<PageClass> classes;
  for (const std::string& name : names) {
    const auto page_class = page_class_from(name);
    if (!page_class) return Error{ErrorCode::kInvalidArgument, "there is no page class " + name};
    classes.push_back(*page_class);
  }
  return classes;
}

}  // namespace hvd
