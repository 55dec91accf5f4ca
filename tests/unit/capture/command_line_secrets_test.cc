// No secret on a VMM's command line reaches the hypervisor's image.
#include "capture/command_line_secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hvd {
namespace {

TEST(WithoutSecrets, BlanksWhatMayTell) {
  struct Case {
    std::vector<std::string> in, out;
  };
  for (const Case& c : std::initializer_list<Case>{
           {{"qemu", "-m", "4G", "-smp", "2"}, {"qemu", "-m", "4G", "-smp", "2"}},
           {{"-append", "root=/dev/vda token=x"}, {"-append", "***"}},
           {{"--append", "x", "-m", "1G"}, {"--append", "***", "-m", "1G"}},
           {{"-append"}, {"-append"}},
           {{"-object", "secret,id=sec0,data=hunter2"}, {"-object", "secret,id=sec0,data=***"}},
           {{"-object", "secret,id=s,data=a,b,c"}, {"-object", "secret,id=s,data=***"}},
           {{"-object", R"({"qom-type":"secret","id":"s","data":"hunter2"})"},
            {"-object", R"({"qom-type":"secret","id":"s","data":***)"}},
           {{"-spice", "port=5900,password=hunter2"}, {"-spice", "port=5900,password=***"}},
           {{"-vnc", ":1,PassWord=x"}, {"-vnc", ":1,PassWord=***"}},
           {{"-drive", "file=x,password-secret=sec0"}, {"-drive", "file=x,password-secret=***"}},
           {{"-fw_cfg", "name=opt/x,string=hunter2"}, {"-fw_cfg", "name=opt/x,string=***"}},
           {{"-drive", "file.cookie-secret=x"}, {"-drive", "file.cookie-secret=***"}},
           {{"-global", "driver=x,property=y,value=z"},
            {"-global", "driver=x,property=y,value=***"}},
           {{""}, {""}},
           {{",,,"}, {",,,"}},
           {{"a:b=c"}, {"a:b=c"}}}) {
    EXPECT_EQ(without_secrets(c.in), c.out) << c.in.back();
  }
}

TEST(WithoutSecrets, NoSecretOfTheseSurvives) {
  for (const std::vector<std::string>& line : std::initializer_list<std::vector<std::string>>{
           {"-iscsi", "user=me,password=HUSH"},
           {"-object", "tls-creds-x509,id=t,dir=/etc,passwordid=HUSH"},
           {"-object", "secret,data=HUSH,id=s"},
           {"-netdev", "user,id=n,smb=/x,token=HUSH"},
           {"-blockdev", R"({"driver":"rbd","key-secret":"HUSH"})"},
           {"-smbios", "type=11,value=HUSH"},
           {"-smbios", "type=11,value=a=HUSH"}}) {
    for (const std::string& argument : without_secrets(line))
      EXPECT_EQ(argument.find("HUSH"), std::string::npos) << argument;
  }
}

// A name in front of the telling one, with a colon between, hides it: only the text up to the first
// mark is looked at.
TEST(WithoutSecrets, ASecretInAUrlIsBlanked) {
  for (const std::vector<std::string>& line : std::initializer_list<std::vector<std::string>>{
           {"-drive", "file=iscsi://me:HUSH@server/lun"},
           {"-drive", "file=rbd:pool/image:id=admin:key=HUSH:mon_host=x"},
           {"-drive", "file=https://user:HUSH@server/disk.img,if=virtio"},
           {"-append=console=ttyS0 token=HUSH"}}) {
    for (const std::string& argument : without_secrets(line))
      EXPECT_EQ(argument.find("HUSH"), std::string::npos) << argument;
  }
}

}  // namespace
}  // namespace hvd
