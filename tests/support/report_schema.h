// Reports against their published schema, by Python's jsonschema.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

namespace hvd {

inline ProgramOutput validate_report(const nlohmann::json& report) {
  const std::string sources = HVD_SOURCE_FOLDER;
  const TemporaryFolder folder;
  const std::string path = folder.write(
      "report.json", report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  return run_program("/usr/bin/python3 " + sources + "/tests/support/validate_report.py " +
                     sources + "/analyzer/schema/hvdump-triage-1.json " + path);
}

}  // namespace hvd

#define EXPECT_VALID(report)                                           \
  do {                                                                 \
    const hvd::ProgramOutput validated = hvd::validate_report(report); \
    if (validated.exit_code == 77) GTEST_SKIP() << validated.text;     \
    EXPECT_EQ(validated.exit_code, 0) << validated.text;               \
  } while (false)
