// What every hvdump program does the same way: parse, run, print the error, choose the exit code.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hvd {

/// The programs' exit codes are a contract with scripts.
enum class ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kDamaged = 3, kNotAuthorised = 4 };

/// What a command that did not fail has to say: kDone, or kDamaged when it finished with reported
/// damage.
using CommandOutcome = Result<ExitCode>;

/// Parses, runs the chosen subcommand (each stores into `outcome` from its callback), prints an
/// error as "PROGRAM: message" on standard error and returns the exit code.
int run_command_line(CLI::App& app, int argc, char** argv, const CommandOutcome& outcome);

/// What opens a sealed partition.
struct KeyOptions {
  std::vector<std::string> identities;
  std::vector<std::string> passphrases;

  /// All of them: what no output may replace.
  std::vector<std::string> files() const;
};
/// `keys` must outlive `command`.
void add_key_options(CLI::App& command, KeyOptions& keys);

/// A new program's App with the house defaults: --version, one subcommand required, 80 columns.
void set_up_app(CLI::App& app);

}  // namespace hvd
