// hvdump-capture: writes dumps.
#include "base/command_line.h"
#include "capture/host/command.h"
#include "capture/import_command.h"
#include "capture/qemu/command.h"
#include "capture/receive_command.h"

int main(int argc, char** argv) {
  CLI::App app(
      "Writes one dump of a hypervisor and its virtual machines, each sealed to its owner.",
      "hvdump-capture");
  hvd::set_up_app(app);
  hvd::CommandOutcome outcome = hvd::ExitCode::kDone;
  hvd::add_qemu_command(app, outcome);
  hvd::add_machine_command(app, outcome);
  hvd::add_import_command(app, outcome);
  hvd::add_receive_command(app, outcome);
  return hvd::run_command_line(app, argc, argv, outcome);
}
