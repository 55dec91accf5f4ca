// The subcommands of hvdump-extract.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct ExtractOptions {
  std::string dump;
  std::string partition;
  std::string output;
  std::string dump_type;             // of format dmp
  std::vector<std::string> symbols;  // places with PDBs
  std::string format = "elf";
  std::string signer;
  std::vector<std::string> identities;
  std::vector<std::string> passphrases;
  std::vector<std::string> classes;
  bool json = false;
  bool vmm = false;
};

CommandOutcome run_list(const ExtractOptions& options);
CommandOutcome run_verify(const ExtractOptions& options);
CommandOutcome run_ledger(const ExtractOptions& options);
CommandOutcome run_hypervisor(const ExtractOptions& options);
CommandOutcome run_partition(const ExtractOptions& options);

void add_extract_commands(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
