// The subcommands of hvdump-extract.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct ListOptions {
  std::string dump;
  bool json = false;
};
void add_list_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_list(const ListOptions& options);

struct VerifyOptions {
  std::string dump;
  std::string signer;
  bool json = false;
};
void add_verify_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_verify(const VerifyOptions& options);

struct LedgerOptions {
  std::string dump;
  std::vector<std::string> identities;
  bool json = false;
};
void add_ledger_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_ledger(const LedgerOptions& options);

struct HypervisorOptions {
  std::string dump;
  KeyOptions keys;
  std::string output;
};
void add_hypervisor_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_hypervisor(const HypervisorOptions& options);

struct PartitionOptions {
  std::string dump;
  std::string partition;
  KeyOptions keys;
  std::vector<std::string> classes;
  std::string output;
  std::string format = "elf";
  std::string dump_type;             // of format dmp
  std::vector<std::string> symbols;  // places with PDBs
  bool vmm = false;
};
void add_partition_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_partition(const PartitionOptions& options);

}  // namespace hvd
