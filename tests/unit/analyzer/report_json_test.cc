// Every structure of a report as JSON keeps to the published schema, and only what is known is
// there.
#include "analyzer/report_json.h"

#include <gmock/gmock.h>

#include "tests/support/report_builder.h"
#include "tests/support/report_schema.h"

namespace hvd {
namespace {

using nlohmann::json;

std::vector<std::string> members(const json& object) {
  std::vector<std::string> out;
  for (const auto& [name, value] : object.items()) out.push_back(name);
  return out;
}

TEST(ReportJson, EmptyPartitionHasEveryRequiredMember) {
  Report report;
  report.partitions.emplace_back();
  const json written = to_json(report);
  EXPECT_TRUE(written["dump"]["created"].is_null());
  EXPECT_EQ(written["dump"]["agent"], json::object());
  const json& partition = written["partitions"][0];
  EXPECT_EQ(partition["os"]["family"], "unknown");
  EXPECT_EQ(partition["crash"]["kind"], "unknown");
  EXPECT_TRUE(partition["crash"]["cpu"].is_null());
  EXPECT_TRUE(partition["crash"]["time"].is_null());
  EXPECT_FALSE(partition.contains("vms"));
  EXPECT_FALSE(partition.contains("hypervisor"));
  EXPECT_VALID(written);
}

TEST(ReportJson, FullReportFitsTheSchema) {
  const json written = to_json(full_report("some text"));
  EXPECT_VALID(written);
  const json& partition = written["partitions"][0];
  EXPECT_EQ(partition["hypervisor"]["qemu_version"], "7.2.0");
  EXPECT_EQ(partition["vms"][0]["cpus"][0]["registers"]["rip"], "0x1000");
  EXPECT_TRUE(partition["vms"][0]["cpus"][1]["host_cpu"].is_null());
  EXPECT_EQ(partition["cpus"][0]["vcpu"]["vm"], "some text");
  EXPECT_EQ(partition["cpus"][0]["code"][0]["bytes"], "90");
  EXPECT_EQ(partition["os"]["kaslr_offset"], "0x1000000");
  EXPECT_EQ(partition["memory"]["absent"]["lost"], 4096);
  EXPECT_EQ(partition["log"][0]["time"], 1.25);
  EXPECT_TRUE(partition["tasks"][1]["cpu"].is_null());
  EXPECT_EQ(partition["findings"][0]["severity"], "warning");
}

TEST(ReportJson, FrameHasOnlyTheMembersThatAreKnown) {
  using testing::ElementsAre;
  const json stack = to_json(full_report("f"))["partitions"][0]["cpus"][0]["stack"];
  EXPECT_THAT(members(stack[0]),
              ElementsAre("address", "file", "inlined", "line", "reliable", "symbol"));
  EXPECT_THAT(members(stack[1]), ElementsAre("address", "offset", "reliable", "symbol"));
  EXPECT_THAT(members(stack[2]), ElementsAre("address", "module", "offset", "reliable"));
  EXPECT_THAT(members(stack[3]), ElementsAre("address", "reliable"));
}

TEST(ReportJson, ModuleHasWindowsMembersOnlyWhereTheyAreKnown) {
  using testing::ElementsAre;
  ModuleReport plain;
  plain.name = "ext4";
  const json written = to_json(std::vector{plain, full_partition("m").modules[0]});
  EXPECT_THAT(members(written[0]), ElementsAre("base", "build_id", "name", "size"));
  EXPECT_THAT(members(written[1]), ElementsAre("base", "build_id", "checksum", "name", "pdb",
                                               "size", "timestamp", "version"));
}

TEST(ReportJson, AgentsObjectsThatAreNoObjectsBecomeEmptyOnes) {
  for (const std::string& text :
       {std::string("[1]"), std::string("{\"a\":"), std::string(), std::string(1000000, '[')}) {
    Report report = full_report("x");
    report.dump.agent.facts.text = text;
    report.partitions[0].hypervisor->text = text;
    const json written = to_json(report);
    EXPECT_EQ(written["dump"]["agent"], json::object());
    EXPECT_EQ(written["partitions"][0]["hypervisor"], json::object());
  }
}

// A string that slipped through unchecked costs its own characters, not the report.
TEST(ReportJson, BytesThatAreNotUtf8AreReplaced) {
  const std::string text = json_text(to_json(full_report("a\xff\xfe")));
  EXPECT_TRUE(json::accept(text));
  EXPECT_THAT(text, testing::HasSubstr("a\xef\xbf\xbd"));
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace hvd
