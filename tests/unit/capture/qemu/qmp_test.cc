// The QMP client against peers that lie, stall, flood and hang up.
#include "capture/qemu/qmp.h"

#include <nlohmann/json.hpp>

#include "tests/support/fake_qmp.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using nlohmann::json;
using Connection = FakeQmpPeer::Connection;

/// Connects to a peer that greets and then answers the next request with `answer`.
Result<json> ask(std::function<void(Connection&, const json&)> answer,
                 std::chrono::milliseconds timeout = std::chrono::seconds(5)) {
  FakeQmpPeer peer([&](Connection& connection) {
    connection.greet();
    const json request = connection.receive();
    if (!request.is_discarded()) answer(connection, request);
  });
  auto client = QmpClient::connect(peer.path());
  if (!client) return client.error();
  return client->execute("query-status", json::object(), timeout);
}

TEST(Qmp, GivesTheReturnMember) {
  json seen;
  const auto reply = ask([&](Connection& c, const json& request) {
    seen = request;
    c.reply(request, {{"status", "running"}});
  });
  ASSERT_THAT(reply, Succeeds());
  EXPECT_EQ((*reply)["status"], "running");
  EXPECT_EQ(seen["execute"], "query-status");
}

TEST(Qmp, SkipsEventsAndForeignReplies) {
  const auto reply = ask([](Connection& c, const json& request) {
    c.send("{\"event\": \"STOP\", \"data\": {}}\r\n");
    c.send("{\"return\": \"somebody else's\", \"id\": 999}\r\n{\"return\": \"nobody's\"}\r\n");
    c.send(json{{"event", "RESUME"}, {"id", request["id"]}}.dump() + "\n");
    c.reply(request, 42);
  });
  ASSERT_THAT(reply, Succeeds());
  EXPECT_EQ(*reply, 42);
}

TEST(Qmp, TakesAReplyInPieces) {
  const auto reply = ask([](Connection& c, const json& request) {
    const std::string text = json{{"return", "slow"}, {"id", request["id"]}}.dump() + "\n";
    for (char letter : text) {
      c.send(std::string(1, letter));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  ASSERT_THAT(reply, Succeeds());
  EXPECT_EQ(*reply, "slow");
}

TEST(Qmp, ErrorsOfThePeerKeepItsWordsHarmless) {
  EXPECT_THAT(ask([](Connection& c, const json& r) {
                c.send(json{{"id", r["id"]},
                            {"error", {{"class", "CommandNotFound"}, {"desc", "no such thing"}}}}
                           .dump() +
                       "\n");
              }),
              FailsWith(ErrorCode::kNotFound, "no such thing"));
  const auto hostile = ask([](Connection& c, const json& r) {
    c.send(json{{"id", r["id"]}, {"error", {{"class", "GenericError"}, {"desc", "\x1b]0;title\a"}}}}
               .dump() +
           "\n");
  });
  EXPECT_THAT(hostile, FailsWith(ErrorCode::kIo, "query-status failed"));
  EXPECT_EQ(hostile.error().message.find('\x1b'), std::string::npos);
  EXPECT_THAT(ask([](Connection& c, const json& r) {
                c.send(json{{"id", r["id"]}, {"error", "text"}}.dump() + "\n");
              }),
              FailsWith(ErrorCode::kIo, "without a result"));
}

TEST(Qmp, WhatIsNoProtocolEndsTheConnection) {
  for (const char* garbage : {"garbage\n", "\n", "[]\n", "null\n", "\"text\"\n", "{\"return\": \n",
                              "\xff\xfe\n", "{} {}\n"}) {
    EXPECT_THAT(ask([&](Connection& c, const json&) { c.send(garbage); }),
                FailsWith(ErrorCode::kIo, "no JSON object"))
        << garbage;
  }
  EXPECT_THAT(
      ask([](Connection& c, const json& r) { c.send(json{{"id", r["id"]}}.dump() + "\n"); }),
      FailsWith(ErrorCode::kIo, "without a result"));
}

TEST(Qmp, AHangUpIsToldAtEveryStage) {
  EXPECT_THAT(ask([](Connection&, const json&) {}), FailsWith(ErrorCode::kIo, "hung up"));
  EXPECT_THAT(ask([](Connection& c, const json&) { c.send("{\"return\": "); }),
              FailsWith(ErrorCode::kIo, "hung up"));
  FakeQmpPeer before_greeting([](Connection&) {});
  EXPECT_THAT(QmpClient::connect(before_greeting.path()), FailsWith(ErrorCode::kIo, "hung up"));
  FakeQmpPeer before_negotiation([](Connection& c) { c.send("{\"QMP\": {}}\n"); });
  EXPECT_FALSE(QmpClient::connect(before_negotiation.path()));
}

TEST(Qmp, SilenceEndsAtTheDeadline) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(ask([](Connection& c, const json&) { c.receive(); }, std::chrono::milliseconds(100)),
              FailsWith(ErrorCode::kIo, "does not answer"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(Qmp, ATrickleDoesNotMoveTheDeadline) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(ask(
                  [](Connection& c, const json&) {
                    while (c.send(" ")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
                  },
                  std::chrono::milliseconds(200)),
              FailsWith(ErrorCode::kIo, "does not answer"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(Qmp, EndlessEventsEnd) {
  EXPECT_THAT(
      ask([](Connection& c, const json&) {
        while (c.send(
            "{\"event\": \"X\"}\n{\"event\": \"X\"}\n{\"event\": \"X\"}\n{\"event\": \"X\"}\n")) {
        }
      }),
      FailsWith(ErrorCode::kIo, "events but no reply"));
}

TEST(Qmp, AReplyWithoutEndIsBounded) {
  EXPECT_THAT(ask([](Connection& c, const json&) {
                const std::string megabyte(1u << 20, 'x');
                for (int i = 0; i < 64 && c.send(megabyte); ++i) {
                }
              }),
              FailsWith(ErrorCode::kIo, "without end"));
}

TEST(Qmp, APeerThatIsNoneIsRefused) {
  FakeQmpPeer http([](Connection& c) { c.send("{\"hello\": 1}\n"); });
  EXPECT_THAT(QmpClient::connect(http.path()), FailsWith(ErrorCode::kIo, "does not speak QMP"));
  const TemporaryFolder folder;
  EXPECT_THAT(QmpClient::connect(folder.path("absent")), FailsWith(ErrorCode::kIo, "absent"));
  EXPECT_THAT(QmpClient::connect(folder.write("file", "x")), FailsWith(ErrorCode::kIo, "file"));
  EXPECT_THAT(QmpClient::connect(std::string(200, 'x')),
              FailsWith(ErrorCode::kInvalidArgument, "too long"));
}

TEST(Qmp, HumanAnswersMustBeText) {
  const auto human = [](const json& result) {
    FakeQmpPeer peer([&](Connection& c) {
      c.greet();
      const json request = c.receive();
      EXPECT_EQ(request["arguments"]["command-line"], "info mtree -f");
      c.reply(request, result);
    });
    return QmpClient::connect(peer.path())->human("info mtree -f");
  };
  EXPECT_EQ(human("FlatView").value(), "FlatView");
  EXPECT_THAT(human(7), FailsWith(ErrorCode::kIo, "not text"));
  EXPECT_THAT(human(json::object()), FailsWith(ErrorCode::kIo, "not text"));
}

TEST(Qmp, KnowsWhoServesTheSocket) {
  FakeQmpPeer peer([](Connection& c) { c.greet(); });
  EXPECT_EQ(QmpClient::connect(peer.path())->peer_pid().value(), ::getpid());
}

TEST(Qmp, NestingHasALimit) {
  // A bracket a byte, each a JSON value of dozens of bytes; and whoever copies or prints the value
  // recurses.
  const std::string deep(200000, '[');
  const auto reply = ask([&](Connection& c, const json& r) {
    c.send("{\"id\": " + r["id"].dump() + ", \"return\": " + deep + std::string(deep.size(), ']') +
           "}\n");
  });
  EXPECT_THAT(reply, FailsWith(ErrorCode::kIo, ""));
}

}  // namespace
}  // namespace hvd
