// recover: one partition, unsealed, as a dump of its own.
#include <cstdio>

#include "base/json.h"
#include "base/output_file.h"
#include "base/text.h"
#include "base/version.h"
#include "decrypt/commands.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/memory_writer.h"

namespace hvd {
namespace {

// Returns how many pages were lost.
Result<std::uint64_t> copy_partition(const Image& image, format::PartitionWriter& out) {
  HVD_TRY(out.facts(image.facts));
  for (const Note& note : image.notes) HVD_TRY(out.note(note));
  for (const Registers& registers : image.registers) HVD_TRY(out.registers(registers));
  Progress progress("Recovering " + printable(image.name), total_size(image.memory->ranges()));
  const format::MemoryTotals totals = HVD_TRY(write_memory(*image.memory, out, {}, progress));
  return totals.lost_pages;
}

}  // namespace

CommandOutcome run_recover(const RecoverOptions& options) {
  HVD_TRY(refuse_inputs_as_output(options.output, options.keys.files()));
  const Keyring keys = HVD_TRY(Keyring::load(options.keys.identities, options.keys.passphrases));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  const auto opener = HVD_TRY(dump.unlock(*partition, keys));
  Image image = HVD_TRY(dump.image(*partition, opener));

  OutputFile file = HVD_TRY(OutputFile::create(options.output, options.dump));
  const nlohmann::json agent{{"agent", "hvdump-decrypt recover"},
                             {"version", kVersion},
                             {"recovered_from", format::text_of(dump.id())}};
  format::DumpInfo info = HVD_TRY(format::new_dump_info(to_text(agent)));
  info.created_ns = dump.created_ns();
  const format::SigningKey signer = HVD_TRY(format::SigningKey::generate());
  const auto writer =
      HVD_TRY(format::DumpWriter::create(std::make_unique<OutputFileSink>(file), info, signer));
  const auto out =
      HVD_TRY(writer->begin_partition({.name = image.name, .role = image.role}, nullptr, {}));
  const std::uint64_t lost = HVD_TRY(copy_partition(image, *out));
  PartitionState state = image.state;
  if (lost > 0) {
    image.problems.push_back(std::to_string(lost) + " pages were lost in the sealed dump");
    if (state == PartitionState::kCaptured) state = PartitionState::kIncomplete;
  }
  HVD_TRY(out->end(
      state, lost > 0 && image.state_reason.empty() ? image.problems.back() : image.state_reason,
      image.problems));
  HVD_TRY(writer->finish());
  HVD_TRY(file.commit());
  for (const std::string& problem : image.problems)
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return image.problems.empty() ? ExitCode::kDone : ExitCode::kDamaged;
}

void add_recover_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<RecoverOptions>();
  CLI::App* command =
      app.add_subcommand("recover", "Write one partition, unsealed, as a dump of its own");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("--partition", options->partition, "The partition")->required();
  add_key_options(*command, options->keys);
  command->add_option("-o,--output", options->output, "File to write")->required();
  command->callback([options, &outcome] { outcome = run_recover(*options); });
}

}  // namespace hvd
