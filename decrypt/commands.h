// The subcommands of hvdump-decrypt. This folder joins the envelope with the dump format, as the
// other programs do; the envelope itself does not depend on it.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct KeygenOptions {
  std::string output;
};
void add_keygen_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_keygen(const KeygenOptions& options);

struct SlotListOptions {
  std::string dump;
  KeyOptions keys;
  bool json = false;
};
void add_slot_list_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_slot_list(const SlotListOptions& options);

struct SlotOptions {
  std::string dump;
  std::string partition;
  std::string output;
  std::size_t slot = 0;
};
void add_slot_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_slot(const SlotOptions& options);

struct RecoverOptions {
  std::string dump;
  std::string partition;
  KeyOptions keys;
  std::string output;
};
void add_recover_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_recover(const RecoverOptions& options);

struct GrantOptions {
  std::string dump;
  std::string partition;
  KeyOptions keys;
  std::string output;
  std::string recipient;  // age1...
  std::vector<std::string> classes;
};
void add_grant_command(CLI::App& app, CommandOutcome& outcome);
CommandOutcome run_grant(const GrantOptions& options);

}  // namespace hvd
