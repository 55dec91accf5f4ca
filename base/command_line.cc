#include "base/command_line.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "base/version.h"

namespace hvd {
namespace {

constexpr std::size_t kTerminalColumns = 80;
constexpr std::size_t kDescriptionColumn = 28;

/// Breaks one line of a help text at spaces, so that no part is wider than a terminal. Descriptions
/// in a list continue in their own column. A word that is too long stays whole.
std::string wrapped(std::string_view line) {
  const std::size_t indent = line.starts_with("  ") ? kDescriptionColumn : 0;
  std::string out;
  while (line.size() > kTerminalColumns - (out.empty() ? 0 : indent)) {
    const std::size_t room = kTerminalColumns - (out.empty() ? 0 : indent);
    const std::size_t space = line.rfind(' ', room);
    if (space == line.npos || (out.empty() && space < indent)) break;
    out.append(line.substr(0, space)).append(1, '\n').append(indent, ' ');
    line.remove_prefix(space + 1);
  }
  return out.append(line);
}

/// CLI11's help has lines as long as the descriptions are.
class Formatter : public CLI::Formatter {
 public:
  Formatter() { column_width(kDescriptionColumn); }

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    const std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    std::string out;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      out += wrapped(std::string_view(text).substr(begin, end - begin));
      out += '\n';
      begin = end + 1;
    }
    return out;
  }
};

ExitCode exit_code_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return ExitCode::kUsage;
    case ErrorCode::kAuthentication:
    case ErrorCode::kSealed: return ExitCode::kNotAuthorised;
    default: return ExitCode::kFailed;
  }
}

}  // namespace

void set_up_app(CLI::App& app) {
  app.formatter(std::make_shared<Formatter>());
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
}

std::vector<std::string> KeyOptions::files() const {
  std::vector<std::string> out = identities;
  out.insert(out.end(), passphrases.begin(), passphrases.end());
  return out;
}

void add_key_options(CLI::App& command, KeyOptions& keys) {
  command.add_option("--identity", keys.identities, "age identity file, or .hvgrant (may repeat)");
  command.add_option("--passphrase-file", keys.passphrases,
                     "File with a passphrase in its first line (may repeat)");
}

int run_command_line(CLI::App& app, int argc, char** argv, const CommandOutcome& outcome) {
  // A reader that goes away (| head) is an error on write, not a silent death with a half-written
  // dump.
  std::signal(SIGPIPE, SIG_IGN);
  // So is a file-size limit: dying of it would leave guests stopped.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? static_cast<int>(ExitCode::kDone)
                                : static_cast<int>(ExitCode::kUsage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return static_cast<int>(ExitCode::kFailed);
  }
  if (!outcome) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(),
                 printable(outcome.error().message, true).c_str());
    return static_cast<int>(exit_code_for(outcome.error().code));
  }
  // An earlier write may have failed and left nothing to flush.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fprintf(stderr, "%s: cannot write to standard output\n", app.get_name().c_str());
    return static_cast<int>(ExitCode::kFailed);
  }
  return static_cast<int>(*outcome);
}

}  // namespace hvd
