#include "guest/windows/find_bugcheck.h"

#include <algorithm>

namespace hvd::windows {
namespace {

// The code and its four parameters.
using Words = std::array<std::uint64_t, 5>;

BugCheck bugcheck_of(const Words& words, const char* source) {
  BugCheck bugcheck;
  bugcheck.code = static_cast<std::uint32_t>(words[0]);
  std::copy(words.begin() + 1, words.end(), bugcheck.parameters.begin());
  bugcheck.source = source;
  return bugcheck;
}

std::optional<BugCheck> in_memory(const Kernel& kernel) {
  if (!kernel.debugger_data()) return std::nullopt;
  Words words{};
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto word = kernel.space().read_u64(kernel.debugger_data()->data.bugcheck_data() + i * 8);
    if (!word) return std::nullopt;
    words[i] = *word;
  }
  if (words[0] == 0) return std::nullopt;
  return bugcheck_of(words, "KiBugCheckData");
}

std::optional<BugCheck> in_header(const Kernel& kernel) {
  const Header64* header = kernel.header();
  if (!kernel.is_dump() || header->bugcheck_code == kUnused32 || header->bugcheck_code == 0)
    return std::nullopt;
  Words words{header->bugcheck_code};
  for (std::size_t i = 0; i < 4; ++i) words[i + 1] = header->bugcheck_parameters[i];
  return bugcheck_of(words, "the dump's header");
}

// Hyper-V's crash registers, as QEMU passes them on.
std::optional<BugCheck> reported_to_hypervisor(const Image& image) {
  for (const PanicReport& report : image.facts.panic) {
    if (report.hyper_v && report.hyper_v->front() != 0)
      return bugcheck_of(*report.hyper_v, "Hyper-V's crash registers");
  }
  return std::nullopt;
}

}  // namespace

std::optional<BugCheck> find_bugcheck(const Kernel& kernel) {
  if (auto found = in_memory(kernel)) return found;
  if (auto found = in_header(kernel)) return found;
  return reported_to_hypervisor(kernel.image());
}

}  // namespace hvd::windows
