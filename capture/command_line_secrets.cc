#include "capture/command_line_secrets.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

namespace hvd {

std::vector<std::string> without_secrets(std::vector<std::string> arguments) {
  static constexpr std::array<std::string_view, 10> kTelling{
      "pass", "secret", "key", "token", "data", "string", "cookie", "cred", "value", "append"};
  static constexpr std::string_view kBlank = "***";
  bool blank_next = false;
  for (std::string& argument : arguments) {
    if (std::exchange(blank_next, false)) {
      argument = kBlank;
      continue;
    }
    blank_next = argument == "-append" || argument == "--append";
    // user:password@ in a URL.
    if (const std::size_t scheme = argument.find("://"); scheme != std::string::npos) {
      const std::size_t at = argument.find('@', scheme);
      const std::size_t path = argument.find('/', scheme + 3);
      if (at < path) argument.replace(scheme + 3, at - scheme - 3, kBlank);
    }
    // NAME=VALUE and "NAME":VALUE, whatever separates them (commas, colons in rbd's options, JSON).
    // Behind the first telling name everything goes: a secret may itself contain separators.
    for (std::size_t mark = argument.find_first_of("=:"); mark != std::string::npos;
         mark = argument.find_first_of("=:", mark + 1)) {
      const std::size_t before =
          mark == 0 ? std::string::npos : argument.find_last_of(",:=?&;{ ", mark - 1);
      std::string name = argument.substr(before == std::string::npos ? 0 : before + 1,
                                         mark - (before == std::string::npos ? 0 : before + 1));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      const bool telling =
          std::any_of(kTelling.begin(), kTelling.end(),
                      [&](std::string_view word) { return name.find(word) != std::string::npos; });
      if (!telling) continue;
      argument.replace(mark + 1, std::string::npos, kBlank);
      break;
    }
  }
  return arguments;
}

}  // namespace hvd
