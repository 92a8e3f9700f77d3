/*
 * The peer of the echo benchmark: N times `/bin/echo hello`, one after another.
 *   posix_spawn null N   output to /dev/null
 *   posix_spawn pipe N   output read through a pipe, as far as a program can go that wants it
 * Prints the seconds it took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void run(int to_pipe) {
  int ends[2] = {-1, -1};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (to_pipe) {
    if (pipe2(ends, O_CLOEXEC)) fail("pipe2");
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  } else {
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  }
  char *args[] = {"/bin/echo", "hello", NULL};
  pid_t pid;
  if (posix_spawn(&pid, args[0], &actions, NULL, args, environ)) fail("posix_spawn");
  posix_spawn_file_actions_destroy(&actions);
  if (to_pipe) {
    char text[64];
    size_t length = 0;
    ssize_t got;
    close(ends[1]);
    while ((got = read(ends[0], text + length, sizeof text - length)) > 0) length += (size_t)got;
    if (length != 6 || memcmp(text, "hello\n", 6)) fail("output of /bin/echo");
    close(ends[0]);
  }
  int status;
  if (waitpid(pid, &status, 0) != pid || status != 0) fail("waitpid");
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int to_pipe = strcmp(argv[1], "pipe") == 0;
  long count = strtol(argv[2], NULL, 10);
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (long i = 0; i < count; i++) run(to_pipe);
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%.6f\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
  return 0;
}
