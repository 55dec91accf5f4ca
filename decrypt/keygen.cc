// keygen: a key of one's own.
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "base/output_file.h"
#include "decrypt/commands.h"
#include "envelope/age.h"
#include "envelope/identity.h"

namespace hvd {

CommandOutcome run_keygen(const KeygenOptions& options) {
  if (::access(options.output.c_str(), F_OK) == 0) {
    // Replacing a key file loses every dump sealed to it.
    return Error{ErrorCode::kInvalidArgument,
                 options.output + " exists already; a key is never replaced"};
  }
  const X25519Identity identity = HVD_TRY(generate_identity());
  const std::string recipient = identity.recipient().text();
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char created[32];
  std::strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &parts);
  std::string text = std::string("# created: ") + created + "\n# public key: " + recipient + "\n" +
                     identity.text() + "\n";
  const auto written = write_whole_file(options.output, as_bytes(text));
  sodium_memzero(text.data(), text.size());
  if (!written) return written.error();
  std::printf("%s\n", recipient.c_str());
  return ExitCode::kDone;
}

void add_keygen_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<KeygenOptions>();
  CLI::App* command = app.add_subcommand("keygen", "Make a key, print its recipient");
  command->add_option("-o,--output", options->output, "File to write")->required();
  command->callback([options, &outcome] { outcome = run_keygen(*options); });
}

}  // namespace hvd
