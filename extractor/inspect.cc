// list and verify: what can be said of a dump without a key.
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "extractor/commands.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/verify.h"

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

void print_json(const json& value) {
  std::puts(value.dump(2, ' ', false, json::error_handler_t::replace).c_str());
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

std::string key_text(const format::PublicKey& key) {
  return hex_bytes(std::as_bytes(std::span(key)));
}

}  // namespace

CommandOutcome run_list(const ExtractOptions& options) {
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  if (options.json) {
    json agent = parse_json_object(as_bytes(dump.agent()));
    json out{
        {"id", format::text_of(dump.id())},  {"created", utc(dump.created_ns())},
        {"signer", key_text(dump.signer())}, {"agent", agent.is_object() ? agent : json::object()},
        {"complete", dump.complete()},       {"problems", json::array()},
        {"partitions", json::array()}};
    for (const std::string& problem : dump.problems())
      out["problems"].push_back(printable(problem));
    for (const auto& partition : dump.partitions())
      out["partitions"].push_back(partition_json(partition));
    print_json(out);
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

CommandOutcome run_verify(const ExtractOptions& options) {
  std::optional<format::PublicKey> expected;
  if (!options.signer.empty()) {
    const auto key = from_hex(options.signer);
    if (!key || key->size() != 32) {
      return Error{ErrorCode::kInvalidArgument, "--signer: expected 64 hexadecimal digits"};
    }
    expected.emplace();
    std::copy(key->begin(), key->end(), reinterpret_cast<std::byte*>(expected->data()));
  }
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  Progress progress("Verifying", dump.reader().source().size());
  const format::Verification result = format::verify(dump, expected, &progress);
  if (options.json) {
    json problems = json::array();
    for (const std::string& problem : result.problems) problems.push_back(printable(problem));
    print_json({{"good", result.good()},
                {"complete", result.complete},
                {"signer", key_text(result.signer)},
                {"records", result.records},
                {"signed_records", result.signed_records},
                {"unsigned_records", result.unsigned_records},
                {"problems", problems}});
  } else {
    std::printf("%llu records, %llu of them signed by %s\n",
                static_cast<unsigned long long>(result.records),
                static_cast<unsigned long long>(result.signed_records),
                key_text(result.signer).c_str());
    if (result.unsigned_records > 0) {
      std::printf("%llu records at the end are not signed: the dump was cut off\n",
                  static_cast<unsigned long long>(result.unsigned_records));
    }
    for (const std::string& problem : result.problems)
      std::printf("%s\n", printable(problem).c_str());
    const char* who =
        expected ? "and its signer is the one expected" : "(give --signer to check who signed it)";
    std::printf("%s\n",
                result.good()
                    ? (std::string("good: nothing was changed since it was signed ") + who).c_str()
                    : "BAD: the dump is damaged, incomplete or was changed");
  }
  return result.good() ? ExitCode::kDone : ExitCode::kDamaged;
}

}  // namespace hvd
