// What a dead host knows of its guests stands in their reports.
#include "analyzer/host_findings.h"

#include <gmock/gmock.h>

#include "analyzer/report_json.h"
#include "tests/support/report_builder.h"
#include "tests/support/report_schema.h"

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

VmReport vm(const std::string& name, std::vector<VcpuReport> cpus) {
  VmReport out;
  out.name = name;
  out.pid = 70;
  out.cpus = std::move(cpus);
  return out;
}

PartitionReport guest(const std::string& name) {
  PartitionReport out;
  out.name = name;
  return out;
}

std::vector<std::string> rules(const PartitionReport& partition) {
  std::vector<std::string> out;
  for (const Finding& found : partition.findings) out.push_back(found.rule);
  return out;
}

/// A host that died while it ran vCPU 0 of "db", whose vCPU 1 waits; vCPU 2 has no known thread.
/// The thread of the one vCPU of "web" is not to be found.
std::vector<PartitionReport> dead_host() {
  PartitionReport host;
  host.name = "host";
  host.role = Role::kHypervisor;
  host.crash.kind = "panic";
  host.crash.bucket = "linux-0123456789abcdef";
  host.crash.cpu = 0;
  CpuReport cpu;
  cpu.task = RunningTask{71, "CPU 0/KVM"};
  cpu.stack = {frame_at(1, "panic")};
  host.cpus = {cpu};
  host.tasks = {{71, 70, "CPU 0/KVM", "R", 0, {}},
                {72, 70, "CPU 1/KVM", "D", 0, {FrameReport(), frame_at(1, "io_schedule")}}};
  host.log = {{1.0, 3, "Memory failure: 0x1234: lost"}, {2.0, 3, "something else"}};
  host.vms = {vm("db", {{0, 71, 0, true, {}}, {1, 72, 0, false, {}}, {2, 0, 0, false, {}}}),
              vm("web", {{0, 99, 0, false, {}}})};
  std::vector<PartitionReport> out{host, guest("db"), guest("web")};
  out[1].memory.absent["restricted"] = 8192;
  return out;
}

TEST(HostFindings, HostsFactsReachTheGuestsTheyExplain) {
  auto partitions = dead_host();
  relate_host_and_guests(partitions);
  ASSERT_TRUE(partitions[0].cpus[0].vcpu);
  EXPECT_EQ(partitions[0].cpus[0].vcpu->vm, "db");
  EXPECT_TRUE(partitions[0].cpus[0].vcpu->in_guest);
  ASSERT_THAT(rules(partitions[1]),
              ElementsAre("host-died-in-vcpu", "vcpu-stuck-in-host", "restricted-memory"));
  EXPECT_THAT(partitions[1].findings[0].evidence, ElementsAre("panic"));
  EXPECT_THAT(partitions[1].findings[1].evidence, ElementsAre("io_schedule"));
  EXPECT_THAT(partitions[1].findings[2].evidence, ElementsAre(HasSubstr("0x1234")));
  EXPECT_THAT(rules(partitions[0]), ElementsAre("restricted-memory-of-vm"));
  EXPECT_TRUE(partitions[2].findings.empty());
  Report report;
  report.partitions = partitions;
  EXPECT_VALID(to_json(report));
}

TEST(HostFindings, HostThatLivesDiedInNoVcpu) {
  auto partitions = dead_host();
  partitions[0].crash = {"none", "", "", {}, 0, {}};
  relate_host_and_guests(partitions);
  EXPECT_THAT(rules(partitions[1]), ElementsAre("vcpu-stuck-in-host", "restricted-memory"));
}

TEST(HostFindings, WithoutTheGuestsPartitionOnlyTheHostsCpuSaysWhatItRan) {
  auto partitions = dead_host();
  partitions.resize(1);
  relate_host_and_guests(partitions);
  EXPECT_TRUE(partitions[0].cpus[0].vcpu);
  EXPECT_TRUE(partitions[0].findings.empty());
}

}  // namespace
}  // namespace hvd
