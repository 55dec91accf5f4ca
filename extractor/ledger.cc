// ledger: what a dead host's capture says it kept, blanked and left out.
#include <cstdio>

#include "base/json.h"
#include "base/text.h"
#include "envelope/keyring.h"
#include "extractor/commands.h"
#include "formats/hvd/dump.h"

namespace hvd {
namespace {

using nlohmann::json;

Result<json> ledger_of(const Image& image) {
  for (const Note& note : image.notes) {
    if (note.name != format::kLedgerNote || note.type != format::kLedgerType) continue;
    json ledger = parse_json_object(note.contents);
    if (ledger.is_object() && ledger.value("kinds", json()).is_array()) return ledger;
    return Error{ErrorCode::kCorrupt, "partition " + image.name + ": malformed ledger note"};
  }
  return Error{ErrorCode::kNotFound, "partition " + image.name + " has no ledger"};
}

std::string text_of(const json& object, const char* name) {
  const json value = object.is_object() ? object.value(name, json()) : json();
  return value.is_string() ? printable(value.get<std::string>()) : "";
}

std::uint64_t number_of(const json& object, const char* name) {
  const json value = object.is_object() ? object.value(name, json()) : json();
  return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}

void print(const json& ledger) {
  std::printf("%-17s %10s  %-9s %12s  %s\n", "KIND", "PAGES", "DONE", "BLANKED", "WHAT");
  for (const json& kind : ledger["kinds"]) {
    std::printf(
        "%-17s %10llu  %-9s %12s  %s\n", text_of(kind, "kind").c_str(),
        static_cast<unsigned long long>(number_of(kind, "pages")), text_of(kind, "done").c_str(),
        human_size(number_of(kind, "redacted_bytes")).c_str(), text_of(kind, "what").c_str());
  }
}

}  // namespace

CommandOutcome run_ledger(const LedgerOptions& options) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, {}));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  for (const auto& partition : dump.partitions()) {
    if (partition.role != Role::kHypervisor) continue;
    const auto opener = HVD_TRY(dump.unlock(partition, keys));
    const Image image = HVD_TRY(dump.image(partition, opener));
    const json ledger = HVD_TRY(ledger_of(image));
    if (options.json) {
      std::puts(to_indented_text(ledger).c_str());
    } else {
      print(ledger);
    }
    return ExitCode::kDone;
  }
  return Error{ErrorCode::kNotFound, "the dump has no hypervisor partition"};
}

void add_ledger_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<LedgerOptions>();
  CLI::App* command =
      app.add_subcommand("ledger", "List what was kept, redacted and excluded of a dead host");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("--identity", options->identities, "age identity file (may repeat)");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &outcome] { outcome = run_ledger(*options); });
}

}  // namespace hvd
