// verify: whether anything was changed since the agent signed it.
#include "formats/hvd/verify.h"

#include <cstdio>

#include "base/json.h"
#include "base/text.h"
#include "extractor/commands.h"
#include "formats/hvd/dump.h"

namespace hvd {

using nlohmann::json;

CommandOutcome run_verify(const VerifyOptions& options) {
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
  const std::string signer = hex_bytes(std::as_bytes(std::span(result.signer)));
  if (options.json) {
    json problems = json::array();
    for (const std::string& problem : result.problems) problems.push_back(printable(problem));
    const json out{{"good", result.good()},
                   {"complete", result.complete},
                   {"signer", signer},
                   {"records", result.records},
                   {"signed_records", result.signed_records},
                   {"unsigned_records", result.unsigned_records},
                   {"problems", problems}};
    std::puts(to_indented_text(out).c_str());
  } else {
    std::printf("%llu records, %llu of them signed by %s\n",
                static_cast<unsigned long long>(result.records),
                static_cast<unsigned long long>(result.signed_records), signer.c_str());
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

void add_verify_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand("verify", "Check the signatures of all records");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("--signer", options->signer,
                      "The agent's public key (64 hexadecimal digits), known from elsewhere");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &outcome] { outcome = run_verify(*options); });
}

}  // namespace hvd
