// What an agent wrote down is taken where it has the expected shape, and passed over elsewhere.
#include "analyzer/facts.h"

#include <gmock/gmock.h>

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Facts, PanicIsReportedByTheRunStateOrByAReport) {
  EXPECT_FALSE(reported_panic("{}"));
  EXPECT_FALSE(reported_panic(R"({"run_state":"paused","panic":[]})"));
  const auto by_state = reported_panic(R"({"run_state":"guest-panicked"})");
  ASSERT_TRUE(by_state);
  EXPECT_FALSE(by_state->cpu);
  EXPECT_THAT(by_state->evidence, IsEmpty());
  const auto by_report =
      reported_panic(R"({"panic":[{"cpu":3,"information":{"type":"hyper-v"}},{"cpu":1}]})");
  ASSERT_TRUE(by_report);
  EXPECT_EQ(by_report->cpu, 3u);
  EXPECT_THAT(by_report->evidence, ElementsAre(R"(CPU 3: {"type":"hyper-v"})", "CPU 1"));
}

TEST(Facts, HostileShapesSayNothing) {
  const std::string deep = R"({"panic":)" + std::string(1000000, '[');
  for (const std::string& facts :
       {std::string(), std::string("[]"), std::string("{"), std::string("7"), deep})
    EXPECT_FALSE(reported_panic(facts));
  const auto odd = reported_panic(R"({"panic":[1,"x",{"cpu":"\u001b[0m"},{"cpu":-1}]})");
  ASSERT_TRUE(odd);
  EXPECT_FALSE(odd->cpu);
  const auto number = reported_panic(R"({"panic":7})");
  ASSERT_TRUE(number);
  EXPECT_THAT(number->evidence, IsEmpty());
}

TEST(Facts, AgentsNamesArePrintable) {
  const AgentReport agent = agent_report(R"({"agent":"hvdump \u001b[31m","host":7,"more":[1]})");
  EXPECT_EQ(agent.name, "hvdump ?[31m");
  EXPECT_EQ(agent.host, "");
  EXPECT_EQ(agent_report("[1]").facts.text, "{}");
}

TEST(Facts, OfAVmmOnlyWhatTheSchemaNames) {
  const auto shown = vmm_facts(R"({"qemu_version":"7.2","level":"secure","uuid":"x"})");
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->text, R"({"level":"secure","qemu_version":"7.2"})");
  EXPECT_FALSE(vmm_facts("7"));
}

TEST(Facts, MachinesWithoutANameGetTheAgents) {
  std::vector<linux_guest::VirtualMachine> machines(3);
  machines[0].pid = 70;
  machines[1].pid = 71, machines[1].name = "known";
  machines[2].pid = 72;
  name_machines(R"({"vms":[{"pid":70,"name":"db","uuid":"u"},{"pid":71,"name":"other"},)"
                R"({"pid":72,"name":7},3]})",
                machines);
  EXPECT_EQ(machines[0].name, "db");
  EXPECT_EQ(machines[0].uuid, "u");
  EXPECT_EQ(machines[1].name, "known");
  EXPECT_EQ(machines[2].name, "");
  name_machines("nonsense", machines);
  EXPECT_EQ(machines[0].name, "db");
}

}  // namespace
}  // namespace hvd
