// The triage report keeps to its published schema, whatever the dump holds.
#include "analyzer/commands.h"
#include "analyzer/html_report.h"
#include "analyzer/report_json.h"
#include "analyzer/triage.h"
#include "base/json.h"
#include "formats/windows_dump/triage_writer.h"
#include "formats/windows_dump/writer.h"
#include "tests/support/crafted_dump.h"
#include "tests/support/damage.h"
#include "tests/support/elf_builder.h"
#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"
#include "tests/support/report_schema.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/windows_builder.h"

namespace hvd {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json triage_json(const OpenedDump& dump) { return to_json(triage(dump, {})); }

/// One guest that nobody can unlock, one that was cut off, one without an operating system, a
/// stateless one.
std::string four_partitions(const TemporaryFolder& folder) {
  CraftedDump crafted;
  const PartitionKeys keys = PartitionKeys::generate().value();
  const auto slots =
      make_key_slots(keys, CraftedDump::kId, 0, {Recipient(generate_identity()->recipient())})
          .value();
  crafted.begin(0, R"({"name":"sealed","role":"guest","sealed":true})");
  ByteWriter slot;
  slot.u16(static_cast<std::uint16_t>(slots[0].recipient.size()))
      .put(as_bytes(slots[0].recipient))
      .put(ByteView(slots[0].blob));
  crafted.record(format::RecordType::kKeySlot, 0, 0, slot.view());
  crafted.end(0);
  crafted.begin(1, R"({"name":"cut off \u001b[31m","role":"guest","sealed":false})")
      .facts(R"({"ranges":[[0,67108864]]})", 1);
  crafted.begin(2, R"({"name":"unknown","role":"guest","sealed":false})")
      .facts(R"({"ranges":[[0,67108864]],"run_state":"guest-panicked"})", 2);
  crafted.end(2);
  crafted.begin(3, R"({"name":"stateless","role":"guest","sealed":false})");
  crafted.record(format::RecordType::kPartitionEnd, 3, 0,
                 as_bytes(R"({"state":"stateless","reason":"made again by a script"})"));
  return folder.write("dump.hvd", crafted.build());
}

Image linux_guest_image(LinuxBuilder& builder) {
  builder.add_log({{1'000'000, 5, "Linux version 6.6.6-test"},
                   {2'000'000'000, 0, "Kernel panic - not syncing: test \x1b[31m"}});
  builder.add_task(0, "swapper/0", 0);
  builder.add_task(1, "init\x1b[1m", 2);
  const VirtAddr modules = builder.place(16, "modules");
  builder.empty_list(modules);
  builder.write_u32(builder.place(4, "panic_cpu"), 0);
  builder.symbol("crash_here", VirtAddr{LinuxBuilder::kText + 0x40});
  builder.add_btf(kernel_btf());
  builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
  Image image = builder.build();
  Registers cpu;
  cpu.set(Reg::kRip, LinuxBuilder::kText + 0x48);
  cpu.set(Reg::kCs, 0x10);
  image.registers = {cpu};
  return image;
}

TEST(TriageReport, OfEveryKindOfPartitionFitsTheSchema) {
  const TemporaryFolder folder;
  const auto dump = open_dump(four_partitions(folder), Keyring(), "");
  ASSERT_THAT(dump, Succeeds());
  const json report = triage_json(*dump);
  ASSERT_EQ(report["partitions"].size(), 4u);
  EXPECT_TRUE(report["partitions"][0]["locked"]);
  EXPECT_EQ(report["partitions"][0]["state"], "captured");
  EXPECT_EQ(report["partitions"][1]["state"], "incomplete");
  EXPECT_EQ(report["partitions"][1]["name"], "cut off ?[31m");
  EXPECT_EQ(report["partitions"][1]["memory"]["absent"]["lost"], 67108864);
  EXPECT_EQ(report["partitions"][2]["os"]["family"], "unknown");
  EXPECT_EQ(report["partitions"][3]["state"], "stateless");
  EXPECT_VALID(report);
}

TEST(TriageReport, OfALinuxGuestFitsTheSchema) {
  LinuxBuilder builder;
  OpenedDump dump;
  dump.partitions.push_back(linux_guest_image(builder));
  const json report = triage_json(dump);
  const json& partition = report["partitions"][0];
  EXPECT_EQ(partition["os"]["release"], builder.kRelease);
  EXPECT_EQ(partition["crash"]["kind"], "panic");
  EXPECT_THAT(partition["crash"]["reason"].get<std::string>(), HasSubstr("test ?[31m"));
  EXPECT_EQ(partition["tasks"].size(), 2u);
  EXPECT_EQ(partition["cpus"][0]["stack"][0]["symbol"], "crash_here");
  EXPECT_EQ(partition["log"].size(), 2u);
  EXPECT_VALID(report);
}

TEST(TriageReport, TheSchemaRefusesWhatIsWrong) {
  LinuxBuilder builder;
  OpenedDump dump;
  dump.partitions.push_back(linux_guest_image(builder));
  const json good = triage_json(dump);
  EXPECT_VALID(good);
  const auto refused = [&](const char* what, auto change) {
    json bad = good;
    change(bad);
    EXPECT_EQ(validate_report(bad).exit_code, 1) << what;
  };
  refused("schema name", [](json& r) { r["schema"] = "hvdump-triage/2"; });
  refused("unknown top member", [](json& r) { r["extra"] = 1; });
  refused("missing crash", [](json& r) { r["partitions"][0].erase("crash"); });
  refused("unknown state", [](json& r) { r["partitions"][0]["state"] = "fine"; });
  refused("escape sequence", [](json& r) { r["partitions"][0]["tasks"][0]["comm"] = "\x1b[1m"; });
  refused("newline in a name", [](json& r) { r["partitions"][0]["name"] = "a\nb"; });
  refused("number as address",
          [](json& r) { r["partitions"][0]["cpus"][0]["stack"][0]["address"] = 7; });
  refused("unknown reason", [](json& r) { r["partitions"][0]["memory"]["absent"]["lazy"] = 7; });
  refused("locked with a log", [](json& r) { r["partitions"][0]["locked"] = true; });
  refused("panic without a bucket", [](json& r) { r["partitions"][0]["crash"]["bucket"] = ""; });
}

TEST(TriageReport, EveryFormNamesEveryPartitionAndNoEscape) {
  const TemporaryFolder folder;
  const std::string path = four_partitions(folder);
  for (const char* format : {"json", "text", "html"}) {
    AnalyzeOptions options;
    options.dump = path;
    options.format = format;
    options.output = folder.path("report");
    const auto outcome = run_triage(options);
    ASSERT_THAT(outcome, Succeeds());
    EXPECT_EQ(*outcome, ExitCode::kDamaged) << "one partition is incomplete";
    const std::string text = folder.read("report");
    for (const char* name : {"sealed", "cut off", "unknown", "stateless"})
      EXPECT_THAT(text, HasSubstr(name)) << format;
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

TEST(TriageReport, HtmlEscapesWhatAGuestSays) {
  LinuxBuilder builder;
  OpenedDump dump;
  dump.partitions.push_back(linux_guest_image(builder));
  dump.partitions[0].name = "<script>alert(1)</script>";
  dump.partitions[0].problems = {"\" onload=\"x", "<img src=x>"};
  const std::string html = html_report(triage(dump, {}));
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert"));
}

TEST(TriageReport, DeepNestingInAHostilesFactsIsNoCrash) {
  const TemporaryFolder folder;
  const std::string deep =
      "{\"process\":" + std::string(1000000, '[') + std::string(1000000, ']') + "}";
  CraftedDump crafted;
  crafted.begin(0, R"({"name":"x","role":"hypervisor","sealed":false})").facts(deep).end();
  const auto dump = open_dump(folder.write("dump.hvd", crafted.build()), Keyring(), "");
  ASSERT_THAT(dump, Succeeds());
  EXPECT_EQ(triage_json(*dump)["partitions"].size(), 1u);
}

// Memory dumps of ARM64 systems as of any other; of a triage dump what it holds.
TEST(TriageReport, TellsOfArm64Windows) {
  const WindowsBuilder builder(true);
  const Image image = builder.build();
  const TemporaryFolder folder;
  const std::string path = folder.path("arm64.dmp");
  windows::MemoryDumpPlan plan;
  plan.header = builder.dump_header();
  plan.pieces = {{PhysAddr{0}, WindowsBuilder::kSize}};
  std::vector<std::string> damage;
  {
    OutputFile file = OutputFile::create(path, "").value();
    Progress progress("test", 1);
    ASSERT_THAT(windows::write_bitmap_dump(plan, false, *image.memory, file, progress, damage),
                Succeeds());
    ASSERT_THAT(file.commit(), Succeeds());
  }
  const auto dump = open_dump(path, Keyring(), "");
  ASSERT_THAT(dump, Succeeds());
  const json report = triage_json(*dump);
  EXPECT_VALID(report);
  const json& guest = report["partitions"][0];
  EXPECT_EQ(guest["os"]["family"], "windows");
  EXPECT_THAT(guest["crash"]["reason"].get<std::string>(), HasSubstr("0xD1"));
  EXPECT_EQ(guest["crash"]["cpu"], 0);
  const json& cpu = guest["cpus"][0];
  EXPECT_EQ(cpu["registers"]["pc"], "0xfffff80612001120");
  EXPECT_EQ(cpu["registers"]["pstate"], "0x60000005");
  ASSERT_EQ(cpu["stack"].size(), 4u);
  EXPECT_EQ(cpu["stack"][0]["symbol"], "KeBugCheckEx");
  EXPECT_EQ(cpu["stack"][1]["module"], "mydriver");
  EXPECT_EQ(guest["modules"].size(), 2u);

  windows::TriagePlan triage_of;
  triage_of.header = plan.header;
  triage_of.drivers = {{"mydriver.sys", VirtAddr{WindowsBuilder::kDriver}, 0x40000, 0, 0}};
  triage_of.stack_at = VirtAddr{WindowsBuilder::kStack + 0x1000};
  triage_of.stack = Bytes(0x100);
  const Bytes bytes = windows::triage_dump(triage_of).value();
  const std::string small = folder.write("small.dmp", to_string(bytes));
  const auto opened = open_dump(small, Keyring(), "");
  ASSERT_THAT(opened, Succeeds());
  const json brief = triage_json(*opened);
  ASSERT_EQ(brief["partitions"][0]["cpus"].size(), 1u);
  EXPECT_EQ(brief["partitions"][0]["cpus"][0]["registers"]["pc"], "0xfffff80612001120");
  EXPECT_EQ(brief["partitions"][0]["modules"][0]["name"], "mydriver.sys");
}

}  // namespace
}  // namespace hvd
