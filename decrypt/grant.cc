// grant: keys of a partition for somebody else.
#include "base/output_file.h"
#include "decrypt/commands.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"

namespace hvd {

CommandOutcome run_grant(const GrantOptions& options) {
  std::optional<std::vector<PageClass>> classes;
  if (!options.classes.empty())
    classes = HVD_TRY(with_context(page_classes_from(options.classes), "--class"));
  const X25519Recipient recipient =
      HVD_TRY(with_context(parse_recipient(options.recipient), "--to"));
  HVD_TRY(refuse_inputs_as_output(options.output, options.keys.files()));
  const Keyring keyring = HVD_TRY(Keyring::load(options.keys.identities, options.keys.passphrases));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  if (!partition->sealed)
    return Error{ErrorCode::kInvalidArgument,
                 "partition " + options.partition + " is not sealed: there is nothing to grant"};
  const PartitionKeys keys =
      HVD_TRY(with_context(keyring.keys_for(dump.id(), partition->number, partition->slots),
                           "partition " + options.partition));
  const Bytes grant = HVD_TRY(make_grant(keys, dump.id(), partition->number, recipient, classes));
  HVD_TRY(write_whole_file(options.output, grant, options.dump));
  return ExitCode::kDone;
}

void add_grant_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<GrantOptions>();
  CLI::App* command =
      app.add_subcommand("grant", "Let somebody else open a partition, or some classes of it");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("--partition", options->partition, "The partition")->required();
  add_key_options(*command, options->keys);
  command->add_option("-o,--output", options->output, "File to write")->required();
  command->add_option("--to", options->recipient, "The recipient: age1...")->required();
  command->add_option("--class", options->classes, "Only these page classes (default: all)")
      ->delimiter(',');
  command->callback([options, &outcome] { outcome = run_grant(*options); });
}

}  // namespace hvd
