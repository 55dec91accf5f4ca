// Verification of a dump's signatures, with no key but the agent's public one (SPEC.md,
// "Integrity").
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "formats/hvd/dump.h"

namespace hvd::format {

struct Verification {
  std::uint64_t records = 0;           // intact ones found
  std::uint64_t signed_records = 0;    // of these, covered by a good signature
  std::uint64_t unsigned_records = 0;  // behind the last checkpoint: a torn tail
  bool complete = false;               // the footer is there, fits and is signed
  PublicKey signer{};
  std::vector<std::string> problems;
  bool good() const { return complete && problems.empty() && unsigned_records == 0; }
};

/// Reads the whole dump. `expected` is the agent's public key, when the caller knows it from
/// elsewhere: without it a good result says that nothing changed since the dump was signed, not who
/// signed it.
Verification verify(const Dump& dump, const std::optional<PublicKey>& expected, Progress* progress);

/// Proves one record through its checkpoint alone: `number` is its place among the file's records.
Result<void> verify_record(const Dump& dump, const Record& record);

}  // namespace hvd::format
