// list and slot: the key slots of a dump.
#include <cstdio>

#include "base/json.h"
#include "base/output_file.h"
#include "base/text.h"
#include "decrypt/commands.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"

namespace hvd {

using nlohmann::json;

CommandOutcome run_slot_list(const SlotListOptions& options) {
  const Keyring keys = HVD_TRY(Keyring::load(options.keys.identities, options.keys.passphrases));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  json out = json::array();
  for (const auto& partition : dump.partitions()) {
    json slots = json::array();
    for (std::size_t i = 0; i < partition.slots.size(); ++i) {
      slots.push_back({{"slot", i},
                       {"recipient", printable(partition.slots[i].recipient)},
                       {"yours", keys.matches(partition.slots[i])}});
    }
    out.push_back(
        {{"partition", printable(partition.name)}, {"sealed", partition.sealed}, {"slots", slots}});
    if (options.json) continue;
    std::printf("%s: %s\n", printable(partition.name).c_str(),
                partition.sealed ? "sealed" : "not sealed");
    for (const json& slot : slots) {
      std::printf("  slot %s  %s%s\n", slot["slot"].dump().c_str(),
                  slot["recipient"].get<std::string>().c_str(),
                  slot["yours"] == true ? "  (yours)" : "");
    }
  }
  if (options.json) std::puts(to_indented_text(out).c_str());
  for (const std::string& problem : dump.problems())
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return dump.complete() ? ExitCode::kDone : ExitCode::kDamaged;
}

void add_slot_list_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<SlotListOptions>();
  CLI::App* command = app.add_subcommand("list", "List the key slots of a dump");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  add_key_options(*command, options->keys);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &outcome] { outcome = run_slot_list(*options); });
}

CommandOutcome run_slot(const SlotOptions& options) {
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  if (options.slot >= partition->slots.size()) {
    return Error{ErrorCode::kNotFound, "partition " + options.partition + " has " +
                                           std::to_string(partition->slots.size()) + " key slots"};
  }
  HVD_TRY(write_whole_file(options.output, partition->slots[options.slot].blob, options.dump));
  return ExitCode::kDone;
}

void add_slot_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<SlotOptions>();
  CLI::App* command = app.add_subcommand("slot", "Take a key slot out of a dump, for age -d");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("--partition", options->partition, "The partition")->required();
  command->add_option("-o,--output", options->output, "File to write")->required();
  command->add_option("--slot", options->slot, "Its number (default 0)");
  command->callback([options, &outcome] { outcome = run_slot(*options); });
}

}  // namespace hvd
