// Policy: who may read what, decided before anything is written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/image.h"
#include "base/result.h"
#include "capture/restricted.h"
#include "envelope/identity.h"
#include "formats/hvd/layout.h"

namespace hvd {

enum class HypervisorLevel { kSecure, kFull };

/// How much of a guest's memory is written.
enum class GuestLevel {
  kFull,
  kKernel,  // without user, page-cache and free pages, by the guest's own struct page
  kMini,    // what triage reads
};

/// What the policy says of one partition.
struct PartitionPolicy {
  std::vector<Recipient> recipients;
  bool stateless = false;
  bool plaintext = false;
  std::string note;  // for a stateless one: how to make it again
  format::Codec codec = format::Codec::kZstd;
  int priority = 0;  // those with a higher one are written first, before a budget is used up
  GuestLevel level = GuestLevel::kFull;
  std::vector<RestrictedRange> restricted;  // of the guest's own physical memory
};

/// What a capture may use up; empty or 0: no limit.
struct Limits {
  std::string max_size;           // of the dump, as parse_size() takes it
  unsigned deadline_seconds = 0;  // from its beginning
};

/// One rule of the policy file or the command line: what it says of the guests it matches.
struct PolicyRule {
  std::string match;  // a partition's name, its uuid, or a glob of either; "*" for every guest
  std::vector<Recipient> recipients;
  bool stateless = false;
  bool plaintext = false;
  std::vector<RestrictedRange> restricted;
  std::optional<std::string> note;
  std::optional<format::Codec> codec;
  std::optional<int> priority;
  std::optional<GuestLevel> level;
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
  void add_host_user_recipient(Recipient recipient) { host_user_.push_back(std::move(recipient)); }

  /// All rules that match, in order: recipients and restricted ranges add up, stateless and
  /// plaintext hold once one says so, and the rest is as the last one says that says anything of
  /// it.
  PartitionPolicy for_guest(const std::string& name, const std::string& uuid) const;
  const PartitionPolicy& for_hypervisor() const { return hypervisor_; }
  HypervisorLevel hypervisor_level() const { return level_; }
  /// Host memory that must not be read.
  const std::vector<RestrictedRange>& restricted() const { return restricted_; }
  /// What takes the place of pages that cannot or must not be read, whoever owns them.
  const Replacement& replacement() const { return replacement_; }
  const Limits& limits() const { return limits_; }
  /// To whom the memory of the host's other processes is sealed; without any it is left out.
  const std::vector<Recipient>& host_user() const { return host_user_; }
  /// Of all files but VMs', or only of those of the host's processes.
  bool all_page_cache() const { return all_page_cache_; }

 private:
  std::vector<PolicyRule> rules_;
  PartitionPolicy hypervisor_;
  HypervisorLevel level_ = HypervisorLevel::kSecure;
  std::vector<RestrictedRange> restricted_;
  Replacement replacement_;
  Limits limits_;
  std::vector<Recipient> host_user_;
  bool all_page_cache_ = false;
};

/// Why a guest with this policy may not be written at all, if so: the fail-closed rule.
std::optional<std::string> refusal(const PartitionPolicy& policy);

}  // namespace hvd
