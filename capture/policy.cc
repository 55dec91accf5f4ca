#include "capture/policy.h"

#include <fnmatch.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace hvd {
namespace {

using nlohmann::json;

Error wrong(const std::string& why) { return Error{ErrorCode::kInvalidArgument, "policy: " + why}; }

Result<void> only_members(const json& object, std::initializer_list<const char*> names,
                          const std::string& where) {
  if (!object.is_object()) return wrong(where + " is not an object");
  for (const auto& [key, value] : object.items()) {
    if (std::none_of(names.begin(), names.end(),
                     [&k = key](const char* name) { return k == name; })) {
      return wrong(where + " has an unknown member \"" + key + "\"");
    }
  }
  return {};
}

Result<std::vector<Recipient>> parse_recipients(const json& list, const std::string& where) {
  std::vector<Recipient> out;
  if (!list.is_array()) return wrong(where + ": \"recipients\" is not an array");
  for (const json& item : list) {
    if (!item.is_string()) return wrong(where + ": a recipient is not a string");
    auto recipient = parse_recipient(item.get<std::string>());
    if (!recipient) return wrong(where + ": " + recipient.error().message);
    out.emplace_back(*recipient);
  }
  return out;
}

Result<bool> flag(const json& object, const char* name, const std::string& where) {
  const auto at = object.find(name);
  if (at == object.end()) return false;
  if (!at->is_boolean()) return wrong(where + ": \"" + name + "\" is neither true nor false");
  return at->get<bool>();
}

Result<format::Codec> parse_codec(const json& object, const std::string& where) {
  const auto at = object.find("compression");
  if (at == object.end() || *at == "zstd") return format::Codec::kZstd;
  if (*at == "lz4") return format::Codec::kLz4;
  if (*at == "none") return format::Codec::kNone;
  return wrong(where + ": \"compression\" is not zstd, lz4 or none");
}

Result<PolicyRule> parse_rule(const json& object, const std::string& where) {
  HVD_TRY(only_members(
      object, {"match", "recipients", "stateless", "plaintext", "note", "compression", "priority"},
      where));
  PolicyRule rule;
  const auto match = object.find("match");
  if (match == object.end() || !match->is_string()) return wrong(where + " has no \"match\"");
  rule.match = match->get<std::string>();
  if (object.contains("recipients"))
    rule.policy.recipients = HVD_TRY(parse_recipients(object["recipients"], where));
  rule.policy.stateless = HVD_TRY(flag(object, "stateless", where));
  rule.policy.plaintext = HVD_TRY(flag(object, "plaintext", where));
  rule.policy.codec = HVD_TRY(parse_codec(object, where));
  if (const auto priority = object.find("priority"); priority != object.end()) {
    if (!priority->is_number_integer() || *priority < -1000 || *priority > 1000)
      return wrong(where + ": \"priority\" is no number from -1000 to 1000");
    rule.policy.priority = priority->get<int>();
  }
  if (const auto note = object.find("note"); note != object.end()) {
    if (!note->is_string()) return wrong(where + ": \"note\" is not a string");
    rule.policy.note = note->get<std::string>();
  }
  return rule;
}

// A number, or text in hexadecimal.
Result<std::uint64_t> parse_address(const json& object, const char* name,
                                    const std::string& where) {
  const json value = object.value(name, json());
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  std::uint64_t out = 0;
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  if (text.starts_with("0x")) {
    const char* const end = text.data() + text.size();
    const auto [rest, failed] = std::from_chars(text.data() + 2, end, out, 16);
    if (failed == std::errc{} && rest == end) return out;
  }
  return wrong(where + ": \"" + name + "\" is neither a number nor \"0x...\"");
}

Result<RestrictedRange> parse_restricted(const json& object, const std::string& where) {
  HVD_TRY(only_members(object, {"begin", "size", "action"}, where));
  RestrictedRange out;
  out.range.begin = PhysAddr{HVD_TRY(parse_address(object, "begin", where))};
  out.range.size = HVD_TRY(parse_address(object, "size", where));
  const bool whole = out.range.begin.value % kPageSize == 0 && out.range.size % kPageSize == 0;
  if (!whole || out.range.size == 0 || out.range.size - 1 > ~out.range.begin.value)
    return wrong(where + " is no range of whole pages");
  const json action = object.value("action", json("skip"));
  if (action == "substitute") out.action = RestrictedAction::kSubstitute;
  else if (action == "scrub") out.action = RestrictedAction::kScrub;
  else if (action != "skip") return wrong(where + ": \"action\" is not skip, substitute or scrub");
  return out;
}

bool matches(const PolicyRule& rule, const std::string& name, const std::string& uuid) {
  return ::fnmatch(rule.match.c_str(), name.c_str(), 0) == 0 ||
         (!uuid.empty() && ::fnmatch(rule.match.c_str(), uuid.c_str(), FNM_CASEFOLD) == 0);
}

}  // namespace

Result<Policy> Policy::parse(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (object.is_discarded()) return wrong("not valid JSON");
  HVD_TRY(only_members(object, {"vms", "hypervisor", "restricted"}, "the policy"));
  Policy policy;
  if (const auto vms = object.find("vms"); vms != object.end()) {
    if (!vms->is_array()) return wrong("\"vms\" is not an array");
    for (std::size_t i = 0; i < vms->size(); ++i) {
      PolicyRule rule = HVD_TRY(parse_rule((*vms)[i], "vms[" + std::to_string(i) + "]"));
      policy.add(std::move(rule));
    }
  }
  if (const auto hypervisor = object.find("hypervisor"); hypervisor != object.end()) {
    HVD_TRY(only_members(*hypervisor, {"level", "recipients"}, "hypervisor"));
    if (hypervisor->contains("recipients")) {
      policy.hypervisor_.recipients =
          HVD_TRY(parse_recipients((*hypervisor)["recipients"], "hypervisor"));
    }
    const json level = hypervisor->value("level", json("secure"));
    if (level == "full") policy.level_ = HypervisorLevel::kFull;
    else if (level != "secure") return wrong("hypervisor: \"level\" is neither secure nor full");
  }
  if (const auto list = object.find("restricted"); list != object.end()) {
    if (!list->is_array()) return wrong("\"restricted\" is not an array");
    for (std::size_t i = 0; i < list->size(); ++i) {
      const RestrictedRange range =
          HVD_TRY(parse_restricted((*list)[i], "restricted[" + std::to_string(i) + "]"));
      policy.restricted_.push_back(range);
    }
  }
  return policy;
}

PartitionPolicy Policy::for_guest(const std::string& name, const std::string& uuid) const {
  PartitionPolicy out;
  for (const PolicyRule& rule : rules_) {
    if (!matches(rule, name, uuid)) continue;
    std::vector<Recipient> recipients = std::move(out.recipients);
    recipients.insert(recipients.end(), rule.policy.recipients.begin(),
                      rule.policy.recipients.end());
    const bool stateless = out.stateless || rule.policy.stateless;
    const bool plaintext = out.plaintext || rule.policy.plaintext;
    const int priority = rule.policy.priority != 0 ? rule.policy.priority : out.priority;
    out = rule.policy;
    out.priority = priority;
    out.recipients = std::move(recipients);
    out.stateless = stateless;
    out.plaintext = plaintext;
  }
  // A recipient always wins over plaintext: sealing what may be open harms nobody.
  if (!out.recipients.empty()) out.plaintext = false;
  return out;
}

std::optional<std::string> refusal(const PartitionPolicy& policy) {
  if (policy.stateless || policy.plaintext || !policy.recipients.empty()) return std::nullopt;
  return "no recipient is named for it and the policy does not allow plaintext, so its memory was "
         "not written";
}

}  // namespace hvd
