// What every kind of capture is told by its user: where to write, and who may read what.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/command_line.h"
#include "capture/policy.h"

namespace hvd {

struct CaptureOptions {
  std::vector<std::string> recipients;   // NAME=age1...; NAME may be * or hypervisor
  std::vector<std::string> passphrases;  // NAME=FILE
  std::vector<std::string> stateless;    // NAME
  std::string policy;                    // file
  std::string signing_key;               // file
  std::string output;
  std::string max_size;           // as parse_size() takes it
  unsigned deadline_seconds = 0;  // 0: none
  unsigned threads = 0;
};

/// The options above, for a subcommand.
void add_capture_options(CLI::App& command, CaptureOptions& options);

/// The policy file and the options that add to it; kInvalidArgument naming what is wrong, or when
/// the output is one of the files that the options name.
Result<Policy> build_policy(const CaptureOptions& options);

/// "NAME=VALUE" of `option`.
Result<std::pair<std::string, std::string>> split_named(const std::string& text,
                                                        const std::string& option);

}  // namespace hvd
