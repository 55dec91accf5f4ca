#include "base/command_line.h"

#include <csignal>
#include <cstdio>
#include <exception>

#include "base/text.h"
#include "base/version.h"

namespace hvd {
namespace {

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
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.get_formatter()->column_width(28);
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
  if (std::fflush(stdout) != 0) {
    std::fprintf(stderr, "%s: cannot write to standard output\n", app.get_name().c_str());
    return static_cast<int>(ExitCode::kFailed);
  }
  return static_cast<int>(*outcome);
}

}  // namespace hvd
