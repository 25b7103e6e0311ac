/* SPDX-License-Identifier: Apache-2.0

   Makes the decoder of a capture process hang or crash inside C, where no Python code can catch it.

   Loaded with LD_PRELOAD, it stands between FFmpeg and the C library's recv(). SICK_DECODER names a folder; while it holds
   a file HANG.<source> or CRASH.<source>, the capture process of that source that reads from its camera next takes the
   file away and then waits for ever, or writes to address 0. Other processes are left alone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char hang[4096], crash[4096];

__attribute__((constructor)) static void find_out_who_we_are(void)
{
    static char line[8192];
    const char *folder = getenv("SICK_DECODER");
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    long length = file < 0 ? 0 : read(file, line, sizeof line - 1);
    if (file >= 0)
        close(file);
    for (long at = 0; folder && at < length; at += (long)strlen(line + at) + 1)
        if (!strcmp(line + at, "capture")) {
            const char *name = line + at + sizeof "capture";
            snprintf(hang, sizeof hang, "%s/HANG.%s", folder, name);
            snprintf(crash, sizeof crash, "%s/CRASH.%s", folder, name);
            return;
        }
}

static void fall_sick(void)
{
    if (hang[0] && unlink(hang) == 0)
        for (;;)
            pause();
    if (crash[0] && unlink(crash) == 0)
        *(volatile int *)0 = 0;
}

ssize_t recv(int socket, void *buffer, size_t length, int flags)
{
    static ssize_t (*real)(int, void *, size_t, int);
    if (!real)
        real = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    fall_sick();
    return real(socket, buffer, length, flags);
}

ssize_t __recv_chk(int socket, void *buffer, size_t length, size_t room, int flags)
{
    static ssize_t (*real)(int, void *, size_t, size_t, int);
    if (!real)
        real = (ssize_t(*)(int, void *, size_t, size_t, int))dlsym(RTLD_NEXT, "__recv_chk");
    fall_sick();
    return real(socket, buffer, length, room, flags);
}
