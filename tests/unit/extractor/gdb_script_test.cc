#include "extractor/gdb_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hvd {
namespace {

TEST(GdbScript, AValueThatNamesAnotherStaysAsItIs) {
  EXPECT_EQ(with_values("a = FIRST\nb = {SECOND}\n",
                        {{"FIRST", "\"SECOND\""}, {"SECOND", "\": evil, \""}}),
            "a = \"SECOND\"\nb = {\": evil, \"}\n");
}

TEST(GdbScript, ThePythonHasAPlaceForEachValueOnce) {
  for (const std::string_view name :
       {"VALUES_HERE", "MODULES_HERE", "SWITCHES_HERE", "SELF_HERE"}) {
    const std::size_t at = kGdbPython.find(name);
    ASSERT_NE(at, std::string_view::npos) << name;
    EXPECT_EQ(kGdbPython.find(name, at + 1), std::string_view::npos) << name;
  }
  EXPECT_TRUE(kGdbPython.starts_with("import os\n"));
}

}  // namespace
}  // namespace hvd
