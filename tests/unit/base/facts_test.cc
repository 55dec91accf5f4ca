// Facts come back as they were written, and what a hostile dump says in their place is passed over.
#include "base/facts.h"

#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "base/json.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

Facts every_member() {
  Facts facts;
  facts.address_space = AddressKind::kFile;
  facts.ranges = {{{PhysAddr{4096}, 8192}, "rom", "pc.bios"}, {{PhysAddr{1}, 2}, "ram", {}}};
  facts.uuid = "uuid";
  facts.level = "mini";
  facts.contents = "host-user";
  facts.encrypted = true;
  facts.restricted = {{{PhysAddr{4096}, 4096}, "scrub"}};
  facts.imported = ImportedFact{"MEMORY.DMP", "dump"};
  facts.file_bytes = 17;
  facts.run_state = "guest-panicked";
  facts.qemu_name = "atlas";
  facts.cpus = 4;
  facts.panic = {{0, "", {}},
                 {3,
                  R"({"arg1":209,"arg2":-1,"arg3":0,"arg4":0,"arg5":0,"type":"hyper-v"})",
                  {{209, ~std::uint64_t{0}, 0, 0, 0}}}};
  facts.pid = 4711;
  facts.qemu_version = QemuVersion{7, 2, 22, "Debian"};
  facts.device_tree = "bus: main-system-bus";
  facts.host_kernel = "6.1.0";
  facts.build_id = "00ff";
  facts.command_line = {"qemu", "-name", "x"};
  facts.threads = {{12, "CPU 0/KVM"}};
  facts.vms = {{"alpha", "u", 99}};
  facts.vmm = VmmFacts{99, 1u << 20, {{5, 1, PhysAddr{8192}, 4096}}, {"qemu"}, {{1, 98, true, 3}}};
  facts.windows_dump = "triage";
  facts.data_blocks = 3;
  facts.drivers = {{"nt", 1, 2, 3, 4}};
  facts.unloaded_drivers = {{"gone.sys", 5, 6}};
  facts.secondary_data = {{"00", 7}};
  return facts;
}

TEST(Facts, EveryMemberComesBack) {
  const std::string text = to_json(every_member());
  const auto back = parse_facts(as_bytes(text));
  ASSERT_THAT(back, Succeeds());
  EXPECT_EQ(to_json(*back), text);
  EXPECT_THAT(back->unknown, IsEmpty());
  EXPECT_EQ(back->ranges[0].region, "pc.bios");
  ASSERT_TRUE(back->panic[1].hyper_v);
  EXPECT_EQ((*back->panic[1].hyper_v)[1], ~std::uint64_t{0});
  EXPECT_EQ(back->vmm->vcpus[0].host_cpu, 3u);
}

// What is written is what the specification names.
TEST(Facts, EveryMemberIsInTheSpecification) {
  std::ifstream file(std::string(HVD_SOURCE_FOLDER) + "/formats/hvd/SPEC.md");
  std::stringstream spec;
  spec << file.rdbuf();
  const std::string all = spec.str();
  const std::size_t begin = all.find("## FACTS"), end = all.find("## NOTE");
  ASSERT_NE(begin, std::string::npos);
  const std::string section = all.substr(begin, end - begin);
  const json written = parse_json_object(as_bytes(to_json(every_member())));
  for (const auto& [name, value] : written.items())
    EXPECT_THAT(section, HasSubstr("| `" + name + "` |"));
}

TEST(Facts, WhatALaterWriterAddsIsPassedOn) {
  const auto facts = parse_facts(as_bytes(R"({"uuid":"x","later":{"a":[1]},"ranges":[]})"));
  ASSERT_THAT(facts, Succeeds());
  EXPECT_EQ(facts->uuid, "x");
  EXPECT_THAT(to_json(*facts), HasSubstr(R"("later":{"a":[1]})"));
}

TEST(Facts, MembersOfOtherTypesArePassedOver) {
  const json written = parse_json_object(as_bytes(to_json(every_member())));
  for (const auto& [name, value] : written.items()) {
    for (const json& other :
         {json(), json(-1), json(1.5), json("text"), json::array({1, "x", json::object()}),
          json::object({{"a", 1}}), json(true), json::array({json::array({-1, "x"})})}) {
      const auto facts = parse_facts(as_bytes(to_text({{name, other}})));
      ASSERT_THAT(facts, Succeeds()) << name << other;
      (void)to_json(*facts);
    }
  }
  for (const char* bad : {"", "[]", "1", "{", "{\"a\":1} x"})
    EXPECT_THAT(parse_facts(as_bytes(bad)), FailsWith(ErrorCode::kCorrupt, "JSON object")) << bad;
}

}  // namespace
}  // namespace hvd
