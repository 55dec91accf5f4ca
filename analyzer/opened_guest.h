// The one guest that log, bt, ps, modules and read look at, found in a dump and unlocked.
#pragma once

#include <memory>
#include <optional>

#include "analyzer/commands.h"
#include "analyzer/guest.h"
#include "formats/open_dump.h"

namespace hvd {

class OpenedGuest {
 public:
  /// The guest in partition `options.partition`, or the only one there is; in the dump of a host,
  /// the host itself or one of its virtual machines by name.
  static Result<std::unique_ptr<OpenedGuest>> open(const AnalyzeOptions& options);

  const Image& image() const { return vm_ ? *vm_ : dump_.partitions.front(); }
  Guest& guest() { return *guest_; }
  /// Damage in the dump and in the guest, as far as both were read.
  std::vector<std::string> problems() const;
  /// Whether the dump itself, not only the guest's own data, is damaged.
  bool is_damaged() const { return !image().problems.empty() || !dump_.complete; }

 private:
  OpenedGuest() = default;
  Result<void> open_vm(const AnalyzeOptions& options, const KeyProvider& keys);

  OpenedDump dump_;
  std::unique_ptr<Guest> host_;  // when the guest is one of a dumped host's virtual machines
  std::optional<Image> vm_;      // then
  std::unique_ptr<Guest> guest_;
};

}  // namespace hvd
