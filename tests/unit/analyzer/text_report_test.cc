// The text report shows every part of a report, and a terminal may print it whatever a dump says.
#include "analyzer/text_report.h"

#include <gmock/gmock.h>

#include "analyzer/text_pieces.h"
#include "base/text.h"
#include "tests/support/report_builder.h"

namespace hvd {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(TextReport, ShowsEveryPart) {
  const std::string text = text_report(full_report("name"));
  for (const char* line :
       {"Dump        00112233445566778899aabbccddeeff\n",
        "Created     2026-01-02T03:04:05Z\n",
        "Written by  name on name\n",
        "! the dump is incomplete or damaged\n! name\n",
        "\nPartition name (guest, incomplete)\n-------",
        "Why         name\n",
        "System      linux name\n",
        "KASLR       0x1000000\n",
        "Crash       panic: name\n",
        "Bucket      linux-0123456789abcdef\n",
        "Crashing CPU  0\n",
        "Memory      4.0 KiB of 8.0 KiB present, kernel 4.0 KiB, lost 4.0 KiB\n",
        "! name\n    name\n",
        "\nCPU 0, task 7 name, vCPU 1 of name (crashed)\n",
        "    rip 0xffffffff81000010 ",
        "#0  name (inlined) at name:12\n",
        "#1  name+0x10\n",
        "#2  ? name+0x1234\n",
        "#3  0x1000\n",
        "=> 0xffffffff81000010  name\n",
        "     70     4.0 KiB     2 name\n        vCPU 0, last on CPU 0, in the guest\n",
        "      7       7   0 D  name             name\n",
        "      8       7   - S  name             \n",
        "0xffffffffc0000000     4096 name\n",
        "\nKernel log\n----------\n[    1.250000] name\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, Not(HasSubstr("vCPU 1, last")));
}

TEST(TextReport, CodeIsShownOfTheCrashedCpuOnly) {
  Report report = full_report("name");
  report.partitions[0].crash.cpu = 1;
  EXPECT_THAT(text_report(report), Not(HasSubstr("=>")));
  report.partitions[0].crash.cpu.reset();
  EXPECT_THAT(text_report(report), Not(HasSubstr("(crashed)")));
}

TEST(TextReport, SealedPartitionShowsNoSystem) {
  Report report;
  PartitionReport& partition = report.partitions.emplace_back();
  partition.name = "tenant";
  partition.locked = true;
  const std::string text = text_report(report);
  EXPECT_THAT(text, HasSubstr("Sealed; nothing more is visible without its key.\n"));
  EXPECT_THAT(text, Not(HasSubstr("System")));
}

TEST(TextReport, OnlyTheEndOfALongLogIsShown) {
  Report report;
  PartitionReport& partition = report.partitions.emplace_back();
  for (int i = 0; i < 100; ++i) partition.log.push_back({1.0, 6, "line " + std::to_string(i)});
  const std::string text = text_report(report);
  EXPECT_THAT(text, HasSubstr("Kernel log, last 60 of 100 records"));
  EXPECT_THAT(text, Not(HasSubstr("line 39\n")));
  EXPECT_THAT(text, HasSubstr("line 40\n"));
}

// Escape sequences in 7 and 8 bits, in UTF-8 as well; bytes that are no character; a string longer
// than any buffer. The structures hold printable strings; the writer does not rely on it.
TEST(TextReport, NoStringReachesTheTerminalAsAnEscape) {
  for (const std::string& hostile :
       {std::string("\x1b[31m"), std::string("\x1b]0;title\a"),
        std::string("\xc2\x9b"
                    "31m"),
        std::string("\x9b"
                    "31m"),
        std::string("\r\b\x7f"), std::string("a\0b", 3), std::string("\xff\xfe\xed\xa0\x80"),
        std::string(100000, 'A') + "\x1b[0m", std::string(255, '\xc3')}) {
    const std::string text = text_report(full_report(hostile));
    EXPECT_EQ(text, printable(text, true));
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

TEST(TextPieces, RecordOfSeveralLinesHasItsTimeInEach) {
  EXPECT_EQ(log_text({12.5, 6, "one\ntwo"}), "[   12.500000] one\n[   12.500000] two\n");
  EXPECT_EQ(log_text({0, 6, ""}), "[    0.000000] \n");
}

TEST(TextPieces, TaskWaitsInTheFirstFunctionThatIsNotTheScheduler) {
  const auto waits = [](const std::vector<FrameReport>& stack) {
    const std::string text = tasks_text({{1, 1, "init", "S", std::nullopt, stack}});
    const std::string line = text.substr(text.find('\n') + 1);
    return line.substr(std::string("      1       1   - S  init             ").size());
  };
  EXPECT_EQ(waits({}), "\n");
  EXPECT_EQ(waits({frame_at(1, "__schedule"), frame_at(1, "context_switch"), FrameReport(),
                   frame_at(2, "do_wait")}),
            "do_wait\n");
}

TEST(TextPieces, RegistersAreInThreeColumns) {
  EXPECT_EQ(registers_text({}), "");
  const std::string text = registers_text({{"rip", 1}, {"rsp", 2}, {"rbp", 3}, {"x30", 4}});
  EXPECT_EQ(text,
            "    rip 0x1                    rsp 0x2                    rbp 0x3               \n"
            "    x30 0x4                \n");
}

}  // namespace
}  // namespace hvd
