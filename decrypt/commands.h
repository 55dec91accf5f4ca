// The subcommands of hvdump-decrypt. This folder joins the envelope with the dump format, as the
// other programs do; the envelope itself does not depend on it.
#pragma once

#include <string>
#include <vector>

#include "base/command_line.h"

namespace hvd {

struct DecryptOptions {
  std::string dump;
  std::string partition;
  std::string output;
  std::string recipient;  // grant: age1...
  std::vector<std::string> identities;
  std::vector<std::string> passphrases;
  std::vector<std::string> classes;  // grant
  std::size_t slot = 0;
  bool json = false;
};

CommandOutcome run_keygen(const DecryptOptions& options);
CommandOutcome run_list(const DecryptOptions& options);
CommandOutcome run_slot(const DecryptOptions& options);
CommandOutcome run_recover(const DecryptOptions& options);
CommandOutcome run_grant(const DecryptOptions& options);

void add_decrypt_commands(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
