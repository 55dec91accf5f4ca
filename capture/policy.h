// Policy: who may read what, decided before anything is written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "capture/restricted.h"
#include "decrypt/identity.h"
#include "formats/hvd/layout.h"

namespace hvd {

enum class HypervisorLevel { kSecure, kFull };

/// What the policy says of one partition.
struct PartitionPolicy {
  std::vector<Recipient> recipients;
  bool stateless = false;
  bool plaintext = false;
  std::string note;  // for a stateless one: how to make it again
  format::Codec codec = format::Codec::kZstd;
  int priority = 0;  // those with a higher one are written first, before a budget is used up
};

/// One rule of the policy file or the command line.
struct PolicyRule {
  std::string match;  // a partition's name, its uuid, or a glob of either; "*" for every guest
  PartitionPolicy policy;
};

class Policy {
 public:
  /// JSON as samples/policy.json shows it; kInvalidArgument naming what is wrong. Unknown members
  /// are errors: a mistyped "plaintext" must not pass unnoticed.
  static Result<Policy> parse(const std::string& text);

  void add(PolicyRule rule) { rules_.push_back(std::move(rule)); }
  void add_hypervisor_recipient(Recipient recipient) {
    hypervisor_.recipients.push_back(std::move(recipient));
  }

  /// All rules that match, in order: recipients add up; the rest is as the last rule says it.
  PartitionPolicy for_guest(const std::string& name, const std::string& uuid) const;
  const PartitionPolicy& for_hypervisor() const { return hypervisor_; }
  HypervisorLevel hypervisor_level() const { return level_; }
  /// Host memory that must not be read.
  const std::vector<RestrictedRange>& restricted() const { return restricted_; }

 private:
  std::vector<PolicyRule> rules_;
  PartitionPolicy hypervisor_;
  HypervisorLevel level_ = HypervisorLevel::kSecure;
  std::vector<RestrictedRange> restricted_;
};

/// Why a guest with this policy may not be written at all, if so: the fail-closed rule.
std::optional<std::string> refusal(const PartitionPolicy& policy);

}  // namespace hvd
