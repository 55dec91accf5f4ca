// hvdump-extract: splits dumps into what debuggers open.
#include "extractor/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Lists, verifies and splits .hvd dumps into images that debuggers open.",
               "hvdump-extract");
  hvd::set_up_app(app);
  hvd::CommandOutcome outcome = hvd::ExitCode::kDone;
  hvd::add_list_command(app, outcome);
  hvd::add_ledger_command(app, outcome);
  hvd::add_verify_command(app, outcome);
  hvd::add_hypervisor_command(app, outcome);
  hvd::add_partition_command(app, outcome);
  return hvd::run_command_line(app, argc, argv, outcome);
}
