// hvdump-decrypt: keys, and what they open.
#include "decrypt/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Makes keys and opens sealed partitions of .hvd dumps.", "hvdump-decrypt");
  hvd::set_up_app(app);
  hvd::CommandOutcome outcome = hvd::ExitCode::kDone;
  hvd::add_keygen_command(app, outcome);
  hvd::add_slot_list_command(app, outcome);
  hvd::add_slot_command(app, outcome);
  hvd::add_recover_command(app, outcome);
  hvd::add_grant_command(app, outcome);
  return hvd::run_command_line(app, argc, argv, outcome);
}
