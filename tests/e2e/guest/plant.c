// Plants the canaries of /canaries in the guest's memory and then removes that file.
//
// /canaries holds four lines: text for an environment, text for a file, 16 hex digits for
// registers, text for the kernel; every byte inverted, so that the boot loader's and the kernel's
// copies of the file do not count.
// Afterwards each canary is in clear only where it is meant to be:
//   environment  HVD_CANARY=<text> of this process, "hvd-env", which then sleeps
//   file         /t/canary, in a tmpfs, that is, in the page cache
//   registers    rbx, rbp, r12 to r15 of a child, "hvd-registers", which spins in user mode on the last
//                CPU: they are the vCPU's, or the saved ones when something has interrupted it
//   kernel       unread in a pipe and in sockets, a short and a long message, and in a key
// A shell script could not do this without leaving copies in its heap, nor could exec, which frees
// pages without clearing them; hence a placeholder in the environment, to be overwritten in place.
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char canaries[256];

static void check(int ok, const char* what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static _Noreturn void spin_with(uint64_t canary) {
  memset(canaries, 0, sizeof canaries);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
  check(sched_setaffinity(0, sizeof cpus, &cpus) == 0, "sched_setaffinity");
  // With a single CPU the rest of the guest must still get somewhere.
  check(nice(19) != -1, "nice");
  prctl(PR_SET_NAME, "hvd-registers");
  __asm__ volatile(
      "mov %0, %%rbx\n mov %0, %%rbp\n mov %0, %%r12\n mov %0, %%r13\n mov %0, %%r14\n"
      "mov %0, %%r15\n 1: pause\n jmp 1b\n" ::"a"(canary));
  __builtin_unreachable();
}

static void write_file(const char* path, const char* text, size_t size) {
  const int fd = open(path, O_WRONLY | O_CREAT, 0600);
  check(fd >= 0 && write(fd, text, size) == (ssize_t)size, path);
  close(fd);
}

// What the kernel holds for a process: in objects of its own and in pages that nothing marks.
static void leave_with_kernel(const char* text, size_t size) {
  static char message[20000];
  int pipes[2], sockets[2];
  check(pipe(pipes) == 0 && write(pipes[1], text, size) == (ssize_t)size, "a pipe");
  check(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets) == 0, "sockets");
  check(send(sockets[0], text, size, 0) == (ssize_t)size, "a short message");
  for (size_t at = 0; at + size <= sizeof message; at += size) memcpy(message + at, text, size);
  check(send(sockets[0], message, sizeof message, 0) == sizeof message, "a long message");
  memset(message, 0, sizeof message);
  const long keyring = -2;  // KEY_SPEC_PROCESS_KEYRING
  check(syscall(SYS_add_key, "user", "hvd", text, size, keyring) > 0, "a key");
}

int main(void) {
  const int fd = open("/canaries", O_RDONLY);
  const ssize_t size = fd < 0 ? -1 : read(fd, canaries, sizeof canaries - 1);
  check(size > 0, "/canaries");
  close(fd);
  for (ssize_t i = 0; i < size; ++i) canaries[i] = (char)~canaries[i];

  const char* environment = strtok(canaries, "\n");
  const char* file = strtok(NULL, "\n");
  const char* registers = strtok(NULL, "\n");
  const char* kernel = strtok(NULL, "\n");
  char* placeholder = getenv("HVD_CANARY");
  check(kernel != NULL, "/canaries has fewer than four lines");
  check(placeholder && strlen(placeholder) >= strlen(environment), "HVD_CANARY as a placeholder");

  if (fork() == 0) spin_with(strtoull(registers, NULL, 16));
  write_file("/t/canary", file, strlen(file));
  strcpy(placeholder, environment);
  leave_with_kernel(kernel, strlen(kernel));

  memset(canaries, 0, sizeof canaries);
  unlink("/canaries");  // for init: all is planted
  for (;;) pause();
}
