// keygen, list, slot, grant: keys and who holds them.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/output_file.h"
#include "base/text.h"
#include "decrypt/commands.h"
#include "envelope/age.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"

namespace hvd {
namespace {

using nlohmann::json;

Result<std::optional<std::vector<PageClass>>> parse_classes(const std::vector<std::string>& names) {
  if (names.empty()) return std::optional<std::vector<PageClass>>();
  std::vector<PageClass> classes;
  for (const std::string& name : names) {
    const auto page_class = page_class_from(name);
    if (!page_class)
      return Error{ErrorCode::kInvalidArgument, "--class: there is no page class " + name};
    classes.push_back(*page_class);
  }
  return std::optional(std::move(classes));
}

}  // namespace

CommandOutcome run_keygen(const DecryptOptions& options) {
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

CommandOutcome run_list(const DecryptOptions& options) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
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
  if (options.json) std::puts(out.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  for (const std::string& problem : dump.problems())
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return dump.complete() ? ExitCode::kDone : ExitCode::kDamaged;
}

CommandOutcome run_slot(const DecryptOptions& options) {
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  if (options.slot >= partition->slots.size()) {
    return Error{ErrorCode::kNotFound, "partition " + options.partition + " has " +
                                           std::to_string(partition->slots.size()) + " key slots"};
  }
  HVD_TRY(write_whole_file(options.output, partition->slots[options.slot].blob, options.dump));
  return ExitCode::kDone;
}

CommandOutcome run_grant(const DecryptOptions& options) {
  const auto classes = HVD_TRY(parse_classes(options.classes));
  const X25519Recipient recipient =
      HVD_TRY(with_context(parse_recipient(options.recipient), "--to"));
  for (const std::string& identity : options.identities)
    HVD_TRY(refuse_input_as_output(options.output, identity));
  const Keyring keyring = HVD_TRY(Keyring::load(options.identities, options.passphrases));
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

}  // namespace hvd
