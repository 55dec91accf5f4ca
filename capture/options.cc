#include "capture/options.h"

#include <sodium.h>

#include "base/byte_source.h"
#include "base/output_file.h"
#include "envelope/keyring.h"

namespace hvd {

void add_capture_options(CLI::App& command, CaptureOptions& options) {
  command.add_option(
      "--recipient", options.recipients,
      "Seal NAME to a public key: NAME=age1... (NAME may be * for every guest, hypervisor, or "
      "host-user: the host's other processes)");
  command.add_option("--passphrase", options.passphrases,
                     "Seal NAME to the passphrase in the first line of a file: NAME=FILE");
  command.add_option("--stateless", options.stateless, "Record NAME but do not dump its memory");
  command.add_option("--policy", options.policy, "Policy file (JSON, see samples/policy.json)");
  command.add_option("--signing-key", options.signing_key,
                     "Sign with the key in this file (default: a key for this dump only)");
  command.add_option("--threads", options.threads, "Worker threads (default: one per core)");
  command.add_option("--max-size", options.max_size,
                     "Store no more memory once the dump has this size: bytes, or with K, M, G, T");
  command.add_option("--deadline", options.deadline_seconds,
                     "Store no more memory after this many seconds");
  command
      .add_option(
          "-o,--output", options.output,
          "Dump to write: file, block device, FIFO, tcp://HOST:PORT, or - for standard output")
      ->required();
}

Result<std::pair<std::string, std::string>> split_named(const std::string& text,
                                                        const std::string& option) {
  const std::size_t mark = text.find('=');
  if (mark == std::string::npos || mark == 0 || mark + 1 == text.size()) {
    return Error{ErrorCode::kInvalidArgument, option + " " + text + ": expected NAME=VALUE"};
  }
  return std::pair{text.substr(0, mark), text.substr(mark + 1)};
}

Result<Policy> build_policy(const CaptureOptions& options) {
  HVD_TRY(refuse_inputs_as_output(options.output, {options.policy, options.signing_key}));
  Policy policy;
  if (!options.policy.empty()) {
    const std::string text = HVD_TRY(read_text_file(options.policy, 1u << 20));
    policy = HVD_TRY(with_context(Policy::parse(text), options.policy));
  }
  const auto add = [&policy](const std::string& name, Recipient recipient) {
    if (name == "hypervisor") return policy.add_hypervisor_recipient(std::move(recipient));
    if (name == kHostUserName) return policy.add_host_user_recipient(std::move(recipient));
    PolicyRule rule;
    rule.match = name;
    rule.recipients.push_back(std::move(recipient));
    policy.add(std::move(rule));
  };
  for (const std::string& text : options.recipients) {
    const auto [name, value] = HVD_TRY(split_named(text, "--recipient"));
    const X25519Recipient recipient =
        HVD_TRY(with_context(parse_recipient(value), "--recipient " + text));
    add(name, recipient);
  }
  for (const std::string& text : options.passphrases) {
    const auto [name, value] = HVD_TRY(split_named(text, "--passphrase"));
    HVD_TRY(refuse_inputs_as_output(options.output, {value}));
    std::string words = HVD_TRY(read_text_file(value, 4096));
    auto passphrase = with_context(parse_passphrase_file(words), value);
    sodium_memzero(words.data(), words.size());
    if (!passphrase) return std::move(passphrase).error();
    add(name, std::move(*passphrase));
  }
  for (const std::string& name : options.stateless) {
    PolicyRule rule;
    rule.match = name;
    rule.stateless = true;
    policy.add(std::move(rule));
  }
  return policy;
}

}  // namespace hvd
