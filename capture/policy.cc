#include "capture/policy.h"

#include <fnmatch.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "capture/budget.h"

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

Result<std::optional<format::Codec>> parse_codec(const json& object, const std::string& where) {
  const auto at = object.find("compression");
  if (at == object.end()) return std::optional<format::Codec>();
  if (*at == "zstd") return std::optional(format::Codec::kZstd);
  if (*at == "lz4") return std::optional(format::Codec::kLz4);
  if (*at == "none") return std::optional(format::Codec::kNone);
  return wrong(where + ": \"compression\" is not zstd, lz4 or none");
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

Result<RestrictedAction> parse_action(const json& object, const char* name,
                                      const std::string& where) {
  const json action = object.value(name, json("skip"));
  if (action == "skip") return RestrictedAction::kSkip;
  if (action == "substitute") return RestrictedAction::kSubstitute;
  if (action == "scrub") return RestrictedAction::kScrub;
  return wrong(where + ": \"" + name + "\" is not skip, substitute or scrub");
}

Result<RestrictedRange> parse_restricted(const json& object, const std::string& where) {
  HVD_TRY(only_members(object, {"begin", "size", "action"}, where));
  RestrictedRange out;
  out.range.begin = PhysAddr{HVD_TRY(parse_address(object, "begin", where))};
  out.range.size = HVD_TRY(parse_address(object, "size", where));
  const bool whole = out.range.begin.value % kPageSize == 0 && out.range.size % kPageSize == 0;
  if (!whole || out.range.size == 0 || out.range.size - 1 > ~out.range.begin.value)
    return wrong(where + " is not a range of whole pages");
  out.action = HVD_TRY(parse_action(object, "action", where));
  return out;
}

Result<std::vector<RestrictedRange>> parse_ranges(const json& object, const std::string& where) {
  std::vector<RestrictedRange> out;
  const auto list = object.find("restricted");
  if (list == object.end()) return out;
  if (!list->is_array()) return wrong(where + ": \"restricted\" is not an array");
  for (std::size_t i = 0; i < list->size(); ++i) {
    const RestrictedRange range =
        HVD_TRY(parse_restricted((*list)[i], where + ": restricted[" + std::to_string(i) + "]"));
    out.push_back(range);
  }
  return out;
}

Result<PolicyRule> parse_rule(const json& object, const std::string& where) {
  HVD_TRY(only_members(object,
                       {"match", "recipients", "stateless", "plaintext", "note", "compression",
                        "priority", "level", "restricted"},
                       where));
  PolicyRule rule;
  const auto match = object.find("match");
  if (match == object.end() || !match->is_string()) return wrong(where + " has no \"match\"");
  rule.match = match->get<std::string>();
  if (object.contains("recipients"))
    rule.recipients = HVD_TRY(parse_recipients(object["recipients"], where));
  rule.stateless = HVD_TRY(flag(object, "stateless", where));
  rule.plaintext = HVD_TRY(flag(object, "plaintext", where));
  rule.codec = HVD_TRY(parse_codec(object, where));
  if (const auto priority = object.find("priority"); priority != object.end()) {
    if (!priority->is_number_integer() || *priority < -1000 || *priority > 1000)
      return wrong(where + ": \"priority\" is not a number from -1000 to 1000");
    rule.priority = priority->get<int>();
  }
  if (const auto note = object.find("note"); note != object.end()) {
    if (!note->is_string()) return wrong(where + ": \"note\" is not a string");
    rule.note = note->get<std::string>();
  }
  if (const auto level = object.find("level"); level != object.end()) {
    if (*level == "full") rule.level = GuestLevel::kFull;
    else if (*level == "kernel") rule.level = GuestLevel::kKernel;
    else if (*level == "mini") rule.level = GuestLevel::kMini;
    else return wrong(where + ": \"level\" is not full, kernel or mini");
  }
  rule.restricted = HVD_TRY(parse_ranges(object, where));
  return rule;
}

Result<Limits> parse_limits(const json& object) {
  HVD_TRY(only_members(object, {"max_size", "deadline"}, "budget"));
  Limits out;
  if (const json size = object.value("max_size", json()); !size.is_null()) {
    if (!size.is_string()) return wrong("budget: \"max_size\" is not a string");
    out.max_size = size.get<std::string>();
    HVD_TRY(with_context(parse_size(out.max_size), "policy: budget: max_size"));
  }
  if (const json deadline = object.value("deadline", json()); !deadline.is_null()) {
    constexpr std::uint64_t kYear = std::uint64_t{365} * 86400;
    if (!deadline.is_number_unsigned() || deadline == 0 || deadline > kYear)
      return wrong("budget: \"deadline\" is not a number of seconds");
    out.deadline_seconds = deadline.get<unsigned>();
  }
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
  HVD_TRY(only_members(
      object, {"vms", "hypervisor", "host_user", "restricted", "replace", "budget"}, "the policy"));
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
  policy.restricted_ = HVD_TRY(parse_ranges(object, "the policy"));
  if (const auto replace = object.find("replace"); replace != object.end()) {
    HVD_TRY(only_members(*replace, {"unreadable", "restricted"}, "replace"));
    policy.replacement_.unreadable = HVD_TRY(parse_action(*replace, "unreadable", "replace"));
    policy.replacement_.restricted = HVD_TRY(parse_action(*replace, "restricted", "replace"));
  }
  if (const auto others = object.find("host_user"); others != object.end()) {
    HVD_TRY(only_members(*others, {"recipients", "page_cache"}, "host_user"));
    policy.host_user_ =
        HVD_TRY(parse_recipients(others->value("recipients", json::array()), "host_user"));
    const json files = others->value("page_cache", json("processes"));
    policy.all_page_cache_ = files == "all";
    if (files != "all" && files != "processes")
      return wrong("host_user: \"page_cache\" is neither processes nor all");
  }
  if (const auto budget = object.find("budget"); budget != object.end())
    policy.limits_ = HVD_TRY(parse_limits(*budget));
  return policy;
}

PartitionPolicy Policy::for_guest(const std::string& name, const std::string& uuid) const {
  PartitionPolicy out;
  for (const PolicyRule& rule : rules_) {
    if (!matches(rule, name, uuid)) continue;
    out.recipients.insert(out.recipients.end(), rule.recipients.begin(), rule.recipients.end());
    out.restricted.insert(out.restricted.end(), rule.restricted.begin(), rule.restricted.end());
    out.stateless = out.stateless || rule.stateless;
    out.plaintext = out.plaintext || rule.plaintext;
    out.note = rule.note.value_or(out.note);
    out.codec = rule.codec.value_or(out.codec);
    out.priority = rule.priority.value_or(out.priority);
    out.level = rule.level.value_or(out.level);
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
