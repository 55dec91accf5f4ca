// Policy: what is sealed to whom, and that nothing is written in the clear by mistake.
#include "capture/policy.h"

#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using testing::ElementsAre;

const std::string kAlice = generate_identity().value().recipient().text();
const std::string kBob = generate_identity().value().recipient().text();

std::vector<std::string> labels(const PartitionPolicy& policy) {
  std::vector<std::string> out;
  for (const Recipient& recipient : policy.recipients) out.push_back(label_of(recipient));
  return out;
}

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

TEST(Policy, RulesAddUpInOrder) {
  const auto policy = Policy::parse(R"({"vms": [
      {"match": "*", "recipients": [)" +
                                    quoted(kAlice) + R"(], "compression": "lz4"},
      {"match": "web-*", "stateless": true, "note": "terraform apply"},
      {"match": "db", "recipients": [)" +
                                    quoted(kBob) + R"(], "compression": "none"},
      {"match": "12345678-*", "plaintext": true}],
      "hypervisor": {"level": "full", "recipients": [)" +
                                    quoted(kBob) + "]}}");
  ASSERT_THAT(policy, Succeeds());
  EXPECT_THAT(labels(policy->for_guest("db", "")), ElementsAre(kAlice, kBob));
  EXPECT_EQ(policy->for_guest("db", "").codec, format::Codec::kNone);
  EXPECT_EQ(policy->for_guest("other", "").codec, format::Codec::kLz4);
  EXPECT_TRUE(policy->for_guest("web-1", "").stateless);
  EXPECT_EQ(policy->for_guest("web-1", "").note, "terraform apply");
  EXPECT_FALSE(policy->for_guest("web", "").stateless);
  EXPECT_FALSE(policy->for_guest("x", "12345678-AAAA").plaintext)
      << "a recipient wins over plaintext";
  EXPECT_EQ(policy->hypervisor_level(), HypervisorLevel::kFull);
  EXPECT_THAT(labels(policy->for_hypervisor()), ElementsAre(kBob));
}

TEST(Policy, AUuidMatchesWithoutRegardToCase) {
  const auto policy = Policy::parse(R"({"vms": [{"match": "ABCDEF01-*", "plaintext": true}]})");
  EXPECT_TRUE(policy->for_guest("vm", "abcdef01-2345").plaintext);
  EXPECT_FALSE(policy->for_guest("vm", "bbcdef01-2345").plaintext);
  EXPECT_FALSE(policy->for_guest("vm", "").plaintext);
}

TEST(Policy, PriorityIsTheLastOneGiven) {
  const auto policy = Policy::parse(R"({"vms": [
      {"match": "*", "priority": 3}, {"match": "db", "priority": -7}, {"match": "d*"}]})");
  ASSERT_THAT(policy, Succeeds());
  EXPECT_EQ(policy->for_guest("web", "").priority, 3);
  EXPECT_EQ(policy->for_guest("db", "").priority, -7);
  EXPECT_THAT(Policy::parse(R"({"vms": [{"match": "*", "priority": 1e9}]})"),
              FailsWith(ErrorCode::kInvalidArgument, "priority"));
}

TEST(Policy, RestrictedMemoryIsWholePagesAndAnAction) {
  const auto policy = Policy::parse(R"({"restricted": [
      {"begin": "0x100000000", "size": 8192}, {"begin": 4096, "size": "0x1000", "action": "scrub"}]})");
  ASSERT_THAT(policy, Succeeds());
  ASSERT_EQ(policy->restricted().size(), 2u);
  EXPECT_EQ(policy->restricted()[0].range, (PhysRange{PhysAddr{0x100000000}, 8192}));
  EXPECT_EQ(policy->restricted()[0].action, RestrictedAction::kSkip);
  EXPECT_EQ(policy->restricted()[1].action, RestrictedAction::kScrub);
  for (const char* wrong : {R"([{"begin": 1, "size": 4096}])", R"([{"begin": 0, "size": 0}])",
                            R"([{"begin": "0x10000g", "size": 4096}])", R"([{"size": 4096}])",
                            R"([{"begin": 0, "size": 4096, "action": "hide"}])", R"({})",
                            R"([{"begin": -4096, "size": 4096}])",
                            R"([{"begin": "0xfffffffffffff000", "size": 8192}])"}) {
    EXPECT_THAT(Policy::parse(std::string(R"({"restricted": )") + wrong + "}"),
                FailsWith(ErrorCode::kInvalidArgument, "restricted"))
        << wrong;
  }
}

TEST(Policy, FailsClosed) {
  EXPECT_NE(refusal(PartitionPolicy{}), std::nullopt) << "nothing was said: nothing is written";
  EXPECT_NE(refusal(Policy::parse("{}")->for_guest("any", "")), std::nullopt);
  EXPECT_NE(
      refusal(Policy::parse(R"({"vms":[{"match":"*","plaintext":false}]})")->for_guest("any", "")),
      std::nullopt);
  EXPECT_NE(
      refusal(
          Policy::parse(R"({"vms":[{"match":"other","plaintext":true}]})")->for_guest("any", "")),
      std::nullopt);
  EXPECT_NE(
      refusal(Policy::parse(R"({"vms":[{"match":"*","recipients":[]}]})")->for_guest("any", "")),
      std::nullopt);
  EXPECT_EQ(
      refusal(Policy::parse(R"({"vms":[{"match":"*","plaintext":true}]})")->for_guest("any", "")),
      std::nullopt);
  EXPECT_EQ(
      refusal(Policy::parse(R"({"vms":[{"match":"*","stateless":true}]})")->for_guest("any", "")),
      std::nullopt);
  EXPECT_EQ(
      refusal(Policy::parse(R"({"vms":[{"match":"*","recipients":[)" + quoted(kAlice) + "]}]}")
                  ->for_guest("any", "")),
      std::nullopt);
}

TEST(Policy, RefusesWhatItDoesNotUnderstand) {
  struct Case {
    std::string text;
    const char* why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", "JSON"},
           {"{", "JSON"},
           {"[]", "not an object"},
           {"null", "not an object"},
           {"7", "not an object"},
           {R"({"vm": []})", "\"vm\""},
           {R"({"vms": {}})", "not an array"},
           {R"({"vms": [7]})", "vms[0]"},
           {R"({"vms": [{}]})", "match"},
           {R"({"vms": [{"match": 7}]})", "match"},
           {R"({"vms": [{"match": "*"}, {"match": "*", "plain-text": true}]})",
            "vms[1] has an unknown member \"plain-text\""},
           {R"({"vms": [{"match": "*", "plaintext": "no"}]})", "plaintext"},
           {R"({"vms": [{"match": "*", "plaintext": 1}]})", "plaintext"},
           {R"({"vms": [{"match": "*", "stateless": null}]})", "stateless"},
           {R"({"vms": [{"match": "*", "note": 1}]})", "note"},
           {R"({"vms": [{"match": "*", "compression": "gzip"}]})", "compression"},
           {R"({"vms": [{"match": "*", "compression": 1}]})", "compression"},
           {R"({"vms": [{"match": "*", "recipients": "age1"}]})", "not an array"},
           {R"({"vms": [{"match": "*", "recipients": [1]}]})", "not a string"},
           {R"({"vms": [{"match": "*", "recipients": ["age1qqq"]}]})", "vms[0]"},
           {R"({"vms": [{"match": "*", "level": "most"}]})", "full, kernel or mini"},
           {R"({"vms": [{"match": "*", "level": 3}]})", "full, kernel or mini"},
           {R"({"vms": [{"match": "*", "restricted": [{"begin": 1, "size": 4096}]}]})",
            "vms[0]: restricted[0]"},
           {R"({"restricted": [{"begin": 0, "size": 4096, "action": "keep"}]})",
            "\"action\" is not skip"},
           {R"({"replace": {"poisoned": "skip"}})", "unknown member"},
           {R"({"replace": {"unreadable": "keep"}})", "\"unreadable\" is not skip"},
           {R"({"host_user": {"plaintext": true}})", "unknown member"},
           {R"({"host_user": {"recipients": ["x"]}})", "host_user"},
           {R"({"host_user": {"page_cache": "some"}})", "page_cache"},
           {R"({"budget": {"max_size": 7}})", "max_size"},
           {R"({"budget": {"max_size": "7Q"}})", "max_size"},
           {R"({"budget": {"deadline": 0}})", "deadline"},
           {R"({"budget": {"deadline": "1h"}})", "deadline"},
           {R"({"hypervisor": []})", "hypervisor"},
           {R"({"hypervisor": {"plaintext": true}})", "unknown member"},
           {R"({"hypervisor": {"level": "open"}})", "level"},
           {R"({"hypervisor": {"level": true}})", "level"},
           {R"({"hypervisor": {"recipients": ["x"]}})", "hypervisor"}}) {
    EXPECT_THAT(Policy::parse(c.text), FailsWith(ErrorCode::kInvalidArgument, c.why)) << c.text;
  }
}

TEST(Policy, LevelsReplacementsAndLimits) {
  const auto policy = Policy::parse(R"({
    "vms": [{"match": "*", "plaintext": true, "restricted": [{"begin": "0x1000", "size": 4096}]},
            {"match": "db-*", "level": "mini", "restricted": [{"begin": 8192, "size": 4096,
             "action": "scrub"}]},
            {"match": "web-*", "level": "kernel"}, {"match": "*", "priority": 3}],
    "replace": {"unreadable": "scrub", "restricted": "substitute"},
    "budget": {"max_size": "3G", "deadline": 600}})");
  ASSERT_THAT(policy, Succeeds());
  EXPECT_EQ(policy->for_guest("x", "").level, GuestLevel::kFull);
  EXPECT_EQ(policy->for_guest("web-1", "").level, GuestLevel::kKernel);
  EXPECT_EQ(policy->for_guest("web-1", "").priority, 3);
  const PartitionPolicy db = policy->for_guest("db-1", "");
  EXPECT_EQ(db.level, GuestLevel::kMini);
  ASSERT_EQ(db.restricted.size(), 2u);
  EXPECT_EQ(db.restricted[1].action, RestrictedAction::kScrub);
  EXPECT_EQ(policy->replacement().unreadable, RestrictedAction::kScrub);
  EXPECT_EQ(policy->replacement().restricted, RestrictedAction::kSubstitute);
  EXPECT_EQ(policy->limits().max_size, "3G");
  EXPECT_EQ(policy->limits().deadline_seconds, 600u);
  EXPECT_TRUE(policy->host_user().empty());
}

TEST(Policy, DeepNestingIsNoCrash) {
  EXPECT_FALSE(Policy::parse(std::string(1000000, '[')));
  EXPECT_FALSE(
      Policy::parse("{\"vms\":" + std::string(100000, '[') + std::string(100000, ']') + "}"));
}

}  // namespace
}  // namespace hvd
