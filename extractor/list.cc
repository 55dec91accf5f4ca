// list: what is in a dump, as can be said without a key.
#include <cstdio>
#include <ctime>

#include "base/json.h"
#include "base/text.h"
#include "extractor/commands.h"
#include "formats/hvd/dump.h"

namespace hvd {
namespace {

using nlohmann::json;

std::string utc(std::uint64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

json partition_json(const format::DumpPartition& partition) {
  json recipients = json::array();
  for (const KeySlot& slot : partition.slots) recipients.push_back(printable(slot.recipient));
  return {{"name", printable(partition.name)},
          {"role", name_of(partition.role)},
          {"state", name_of(partition.state)},
          {"reason", printable(partition.reason)},
          {"sealed", partition.sealed},
          {"recipients", recipients},
          {"total_bytes", partition.total_bytes},
          {"stored_bytes", partition.stored_bytes},
          {"size_bytes", partition.total_bytes},
          {"present_bytes", partition.stored_bytes},
          {"file_bytes", partition.file_bytes ? json(*partition.file_bytes) : json()}};
}

// Fits 80 columns unless a name is long.
void print_row(const std::string& name, const std::string& role, const std::string& state,
               const std::string& sealed, const std::string& size, const std::string& present,
               const std::string& file) {
  std::printf("%-21s %-10s %-11s %-6s %8s %8s %9s\n", name.c_str(), role.c_str(), state.c_str(),
              sealed.c_str(), size.c_str(), present.c_str(), file.c_str());
}

}  // namespace

CommandOutcome run_list(const ListOptions& options) {
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  if (options.json) {
    const format::PublicKey signer = dump.signer();
    json agent = parse_json_object(as_bytes(dump.agent()));
    json out{{"id", format::text_of(dump.id())},
             {"created", utc(dump.created_ns())},
             {"signer", hex_bytes(std::as_bytes(std::span(signer)))},
             {"agent", agent.is_object() ? agent : json::object()},
             {"complete", dump.complete()},
             {"problems", json::array()},
             {"partitions", json::array()}};
    for (const std::string& problem : dump.problems())
      out["problems"].push_back(printable(problem));
    for (const auto& partition : dump.partitions())
      out["partitions"].push_back(partition_json(partition));
    std::puts(to_indented_text(out).c_str());
  } else {
    print_row("PARTITION", "ROLE", "STATE", "SEALED", "SIZE", "PRESENT", "FILE");
    for (const auto& partition : dump.partitions()) {
      print_row(printable(partition.name), std::string(name_of(partition.role)),
                std::string(name_of(partition.state)), partition.sealed ? "yes" : "no",
                human_size(partition.total_bytes), human_size(partition.stored_bytes),
                partition.file_bytes ? human_size(*partition.file_bytes) : "-");
      if (!partition.reason.empty()) std::printf("  %s\n", printable(partition.reason).c_str());
    }
    for (const std::string& problem : dump.problems())
      std::fprintf(stderr, "%s\n", printable(problem).c_str());
  }
  return dump.complete() ? ExitCode::kDone : ExitCode::kDamaged;
}

void add_list_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<ListOptions>();
  CLI::App* command = app.add_subcommand("list", "List the partitions");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &outcome] { outcome = run_list(*options); });
}

}  // namespace hvd
