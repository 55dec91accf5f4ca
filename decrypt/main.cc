// hvdump-decrypt: keys, and what they open.
#include "base/command_line.h"
#include "decrypt/commands.h"

namespace hvd {

void add_decrypt_commands(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<DecryptOptions>();
  const auto add = [&](const char* name, const char* help,
                       CommandOutcome (*run)(const DecryptOptions&)) {
    CLI::App* command = app.add_subcommand(name, help);
    command->callback([options, run, &outcome] { outcome = run(*options); });
    return command;
  };
  CLI::App* keygen = add("keygen", "Make a key, print its recipient", run_keygen);
  CLI::App* list = add("list", "List the key slots of a dump", run_list);
  CLI::App* slot = add("slot", "Take a key slot out of a dump, for age -d", run_slot);
  CLI::App* recover =
      add("recover", "Write one partition, unsealed, as a dump of its own", run_recover);
  CLI::App* grant =
      add("grant", "Let somebody else open a partition, or some classes of it", run_grant);
  for (CLI::App* command : {list, slot, recover, grant})
    command->add_option("dump", options->dump, "The .hvd dump")->required();
  for (CLI::App* command : {slot, recover, grant}) {
    command->add_option("--partition", options->partition, "The partition")->required();
  }
  for (CLI::App* command : {list, recover, grant}) {
    command->add_option("--identity", options->identities,
                        "age identity file, or .hvgrant (may repeat)");
    command->add_option("--passphrase-file", options->passphrases,
                        "File with a passphrase in its first line (may repeat)");
  }
  for (CLI::App* command : {keygen, slot, recover, grant}) {
    command->add_option("-o,--output", options->output, "File to write")->required();
  }
  list->add_flag("--json", options->json, "Print JSON");
  slot->add_option("--slot", options->slot, "Its number (default 0)");
  grant->add_option("--to", options->recipient, "The recipient: age1...")->required();
  grant->add_option("--class", options->classes, "Only these page classes (default: all)")
      ->delimiter(',');
}

}  // namespace hvd

int main(int argc, char** argv) {
  CLI::App app("Makes keys and opens sealed partitions of .hvd dumps.", "hvdump-decrypt");
  hvd::set_up_app(app);
  hvd::CommandOutcome outcome = hvd::ExitCode::kDone;
  hvd::add_decrypt_commands(app, outcome);
  return hvd::run_command_line(app, argc, argv, outcome);
}
