// The age and age-keygen programs judge our age files, keys and texts.
#include <sys/stat.h>

#include "envelope/age.h"
#include "envelope/keyring.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

#define HVD_NEED(program)     \
  if (!have_program(program)) \
  GTEST_SKIP() << "the program " program " is not installed: nothing was compared with it"

TEST(AgeReferee, OpensWhatWeSeal) {
  HVD_NEED("age");
  const TemporaryFolder folder;
  const X25519Identity identity = generate_identity().value();
  const std::string key = folder.write("key", identity.text() + "\n");
  for (const std::size_t size : {0u, 1u, 50u, 40000u}) {
    const std::string plain(size, 'x');
    const std::string blob =
        folder.write("blob", age_encrypt(identity.recipient(), as_bytes(plain)).value());
    const auto out = run_program("age -d -i " + key + " -o " + folder.path("plain") + " " + blob);
    ASSERT_EQ(out.exit_code, 0) << out.text;
    EXPECT_EQ(folder.read("plain"), plain);
  }
}

TEST(AgeReferee, UnwrapsAKeySlot) {
  HVD_NEED("age");
  const TemporaryFolder folder;
  const X25519Identity identity = generate_identity().value();
  const PartitionKeys keys = PartitionKeys::generate().value();
  const DumpId dump{1, 2, 3};
  const auto slots = make_key_slots(keys, dump, 3, {Recipient(identity.recipient())}).value();
  const auto out = run_program("age -d -i " + folder.write("key", identity.text()) + " " +
                               folder.write("slot", slots[0].blob));
  EXPECT_EQ(out.exit_code, 0);
  EXPECT_EQ(out.text, to_string(keys.key_text(dump, 3).view()));
  EXPECT_THAT(out.text, testing::HasSubstr("partition 3\n"));
}

TEST(AgeReferee, SealsWhatWeOpen) {
  HVD_NEED("age");
  const TemporaryFolder folder;
  const X25519Identity identity = generate_identity().value(), other = generate_identity().value();
  for (const std::size_t size : {0u, 1u, 60000u}) {
    const std::string plain(size, 'y');
    const auto out =
        run_program("age -r " + other.recipient().text() + " -r " + identity.recipient().text() +
                    " -o " + folder.path("blob") + " " + folder.write("plain", plain));
    ASSERT_EQ(out.exit_code, 0) << out.text;
    const std::vector<Identity> identities{identity};
    const auto opened = age_decrypt(to_bytes(folder.read("blob")), identities);
    ASSERT_THAT(opened, Succeeds());
    EXPECT_EQ(to_string(opened->view()), plain);
  }
}

TEST(AgeReferee, RefusesWhatWeRefuse) {
  HVD_NEED("age");
  const TemporaryFolder folder;
  const X25519Identity identity = generate_identity().value();
  const std::string key = folder.write("key", identity.text());
  Bytes blob = age_encrypt(identity.recipient(), as_bytes("secret")).value();
  flip_bit(blob, blob.size() - 1);
  EXPECT_NE(run_program("age -d -i " + key + " " + folder.write("blob", blob)).exit_code, 0);
}

TEST(AgeReferee, KeygensKeysParse) {
  HVD_NEED("age-keygen");
  const TemporaryFolder folder;
  ASSERT_EQ(run_program("age-keygen -o " + folder.path("key")).exit_code, 0);
  const auto parsed = parse_identity_file(folder.read("key"));
  ASSERT_THAT(parsed, Succeeds());
  ASSERT_EQ(parsed->size(), 1u);
  EXPECT_EQ(run_program("age-keygen -y " + folder.path("key")).text,
            parsed->front().recipient().text() + "\n");
}

TEST(AgeReferee, ReadsOurKeys) {
  HVD_NEED("age-keygen");
  const TemporaryFolder folder;
  for (int i = 0; i < 5; ++i) {
    const X25519Identity identity = generate_identity().value();
    EXPECT_EQ(run_program("age-keygen -y " + folder.write("key", identity.text() + "\n")).text,
              identity.recipient().text() + "\n");
  }
}

}  // namespace
}  // namespace hvd
