// The subcommands of hvdump-analyze.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct AnalyzeOptions {
  std::string dump;
  std::string partition;
  std::vector<std::string> identities;
  std::vector<std::string> passphrases;
  std::vector<std::string> symbols;
  std::string format = "json";
  std::string output;
  bool json = false;
  bool all = false;         // bt: every task
  std::int64_t pid = -1;    // bt: this task
  std::string address;      // read: symbol or 0x...
  std::uint64_t size = 64;  // read: bytes
  bool physical = false;    // read
};

CommandOutcome run_triage(const AnalyzeOptions& options);
CommandOutcome run_log(const AnalyzeOptions& options);
CommandOutcome run_bt(const AnalyzeOptions& options);
CommandOutcome run_ps(const AnalyzeOptions& options);
CommandOutcome run_modules(const AnalyzeOptions& options);
CommandOutcome run_read(const AnalyzeOptions& options);

void add_analyze_commands(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
