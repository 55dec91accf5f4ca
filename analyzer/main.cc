// hvdump-analyze: triage of dumps.
#include "analyzer/commands.h"
#include "base/heap.h"

int main(int argc, char** argv) {
  hvd::use_large_pages(std::size_t{64} << 20);
  CLI::App app("Says what happened to the machines in a dump, without debug packages.",
               "hvdump-analyze");
  hvd::set_up_app(app);
  hvd::CommandOutcome outcome = hvd::ExitCode::kDone;
  hvd::add_analyze_commands(app, outcome);
  return hvd::run_command_line(app, argc, argv, outcome);
}
