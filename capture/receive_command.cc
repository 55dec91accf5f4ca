#include "capture/receive_command.h"

#include <cstdio>

#include "base/text.h"
#include "capture/interrupt.h"
#include "capture/socket.h"
#include "formats/hvd/dump.h"

namespace hvd {
namespace {

struct ReceiveOptions {
  std::string listen;
  std::string output;
};

CommandOutcome run_receive(const ReceiveOptions& options) {
  const HostPort at = HVD_TRY(HostPort::parse(options.listen));
  watch_for_interrupt();
  const auto sink = HVD_TRY(FileSink::create(options.output));
  const auto received = receive_stream(
      at, *sink,
      [&](const std::string& port) {
        std::fprintf(stderr, "listening on %s, port %s\n", at.host.c_str(), port.c_str());
      },
      interrupted);
  if (!received) {
    return Error{received.error().code,
                 received.error().message + "; " + options.output + " holds what has come"};
  }
  std::fprintf(stderr, "%s: %s received\n", options.output.c_str(), human_size(*received).c_str());
  if (options.output == "-") return ExitCode::kDone;
  const auto dump = format::Dump::open(options.output);
  if (dump && dump->complete()) return ExitCode::kDone;
  std::fprintf(stderr, "%s: %s\n", options.output.c_str(),
               dump ? "the dump is incomplete" : printable(dump.error().message, true).c_str());
  return ExitCode::kDamaged;
}

}  // namespace

void add_receive_command(CLI::App& app, CommandOutcome& outcome) {
  auto options = std::make_shared<ReceiveOptions>();
  auto* command =
      app.add_subcommand("receive", "Store one dump that comes by TCP (from -o tcp://HOST:PORT)");
  command->add_option("--listen", options->listen, "HOST:PORT; port 0 takes a free one")
      ->required();
  command->add_option("-o,--output", options->output, "File to write")->required();
  command->callback([options, &outcome] { outcome = run_receive(*options); });
}

}  // namespace hvd
