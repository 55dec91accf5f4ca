// What an agent wrote down is taken where it has the expected shape, and passed over elsewhere.
#include "analyzer/facts.h"

#include <gmock/gmock.h>

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Facts parsed(std::string_view json) { return parse_facts(as_bytes(json)).value_or(Facts()); }

TEST(ReportedFacts, PanicIsReportedByTheRunStateOrByAReport) {
  EXPECT_FALSE(reported_panic(Facts()));
  EXPECT_FALSE(reported_panic(parsed(R"({"run_state":"paused","panic":[]})")));
  const auto by_state = reported_panic(parsed(R"({"run_state":"guest-panicked"})"));
  ASSERT_TRUE(by_state);
  EXPECT_FALSE(by_state->cpu);
  EXPECT_THAT(by_state->evidence, IsEmpty());
  const auto by_report =
      reported_panic(parsed(R"({"panic":[{"cpu":3,"information":{"type":"hyper-v"}},{"cpu":1}]})"));
  ASSERT_TRUE(by_report);
  EXPECT_EQ(by_report->cpu, 3u);
  EXPECT_THAT(by_report->evidence, ElementsAre(R"(CPU 3: {"type":"hyper-v"})", "CPU 1"));
}

TEST(ReportedFacts, HostileShapesSayNothing) {
  EXPECT_FALSE(reported_panic(parsed(R"({"panic":)" + std::string(1000000, '['))));
  const auto odd = reported_panic(parsed(R"({"panic":[1,"x",{"cpu":"\u001b[0m"},{"cpu":-1}]})"));
  ASSERT_TRUE(odd);
  EXPECT_FALSE(odd->cpu);
  EXPECT_THAT(odd->evidence, ElementsAre("CPU null", "CPU null"));
  EXPECT_FALSE(reported_panic(parsed(R"({"panic":7})")));
}

TEST(ReportedFacts, AgentsNamesArePrintable) {
  const AgentReport agent = agent_report(R"({"agent":"hvdump \u001b[31m","host":7,"more":[1]})");
  EXPECT_EQ(agent.name, "hvdump ?[31m");
  EXPECT_EQ(agent.host, "");
  EXPECT_EQ(agent_report("[1]").facts.text, "{}");
}

TEST(ReportedFacts, OfAVmmOnlyWhatTheSchemaNames) {
  const auto shown = vmm_facts(parsed(R"({"build_id":"ff","level":"secure","uuid":"x"})"));
  EXPECT_EQ(shown.text, R"({"build_id":"ff","level":"secure"})");
}

TEST(ReportedFacts, MachinesWithoutANameGetTheAgents) {
  std::vector<linux_guest::VirtualMachine> machines(3);
  machines[0].pid = 70;
  machines[1].pid = 71, machines[1].name = "known";
  machines[2].pid = 72;
  name_machines(parsed(R"({"vms":[{"pid":70,"name":"db","uuid":"u"},{"pid":71,"name":"other"},)"
                       R"({"pid":72,"name":7},3]})"),
                machines);
  EXPECT_EQ(machines[0].name, "db");
  EXPECT_EQ(machines[0].uuid, "u");
  EXPECT_EQ(machines[1].name, "known");
  EXPECT_EQ(machines[2].name, "");
}

}  // namespace
}  // namespace hvd
