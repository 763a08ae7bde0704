// The first process of a guest, under User-Mode Linux (whose root is the host's file system) and under QEMU (an initramfs,
// with the host's file system over 9p).
//
// It lays a throw-away overlay over the host's root, mounts the guest's own directory of the host at /guest, runs
// /guest/setup and then /guest/command with bash, reaps orphans, leaves the command's exit code in /guest/exit-code, and
// switches the machine off. Whoever started the guest (guest.py) writes those files and reads that one.
//
//     cc -O2 -static -o guest-init guest-init.c
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { setupFailed = 125, commandLost = 126, commandNotStarted = 127 };

// An emulated device of QEMU: a byte written to this port ends it.
enum { exitPort = 0xf4 };

static char kernelArguments[8192];
static bool isQEMU;

static double secondsSinceBoot(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// The value of NAME=VALUE on the kernel's command line.
static const char *kernelArgument(const char *name, const char *otherwise) {
    size_t length = strlen(name);
    for (char *at = kernelArguments; (at = strstr(at, name)); at += length) {
        bool starts = at == kernelArguments || at[-1] == ' ';
        if (starts && at[length] == '=') {
            char *value = at + length + 1;
            return strndup(value, strcspn(value, " \n"));
        }
    }
    return otherwise;
}

static _Noreturn void switchOff(void) {
    sync();
    if (isQEMU && ioperm(exitPort, 1, 1) == 0) outb(0, exitPort);
    reboot(isQEMU ? RB_AUTOBOOT : RB_POWER_OFF);
    _exit(1);
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "guest-init: %s: %s\n", what, strerror(errno));
    switchOff();
}

// Mounts there, making the directory; a kernel that has already done it is fine.
static void mountAt(const char *where, const char *type, const char *source, unsigned long flags, const char *options) {
    mkdir(where, 0755);
    if (mount(source, where, type, flags, options) != 0 && errno != EBUSY) fail(where);
}

static void enter(const char *directory) {
    if (chdir(directory) != 0) fail(directory);
}

static void readKernelArguments(void) {
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    int file = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, kernelArguments, sizeof kernelArguments - 1) <= 0) fail("/proc/cmdline");
    close(file);
}

// The modules that the initramfs carries, in the order of its list.
static void loadModules(FILE *list) {
    char name[128], path[160];
    while (fgets(name, sizeof name, list)) {
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0)
            fprintf(stderr, "guest-init: %s: %s\n", path, strerror(errno));
        close(file);
    }
    fclose(list);
}

// The host's root, read-only, below a tmpfs that takes every change.
static void enterOverlay(void) {
    const char *lower = "/", *scratch = "/mnt";
    if (isQEMU) {
        lower = "/lower";
        scratch = "/scratch";
        mountAt(lower, "9p", "hostroot", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=1048576,cache=loose");
    }
    mountAt(scratch, "tmpfs", "scratch", 0, "mode=755,size=90%");
    enter(scratch);
    mkdir("upper", 0755);
    mkdir("work", 0755);
    char options[256];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, scratch, scratch);
    mountAt("root", "overlay", "overlay", 0, options);
    enter("root");

    mountAt("proc", "proc", "proc", 0, NULL);
    mountAt("sys", "sysfs", "sys", 0, NULL);
    mountAt("dev", "devtmpfs", "dev", 0, NULL);
    mountAt("dev/shm", "tmpfs", "shm", 0, "mode=1777,size=90%");
    mountAt("dev/pts", "devpts", "devpts", 0, NULL);
    mountAt("run", "tmpfs", "run", 0, "mode=755,size=90%");
    mkdir("run/tmp", 0777);
    chmod("run/tmp", 01777);
    if (isQEMU)
        mountAt("guest", "9p", "guest", 0, "trans=virtio,version=9p2000.L,msize=262144,cache=none");
    else
        mountAt("guest", "hostfs", "none", 0, kernelArgument("guest.directory", "/nonexistent"));
    const char *links[][2] = {
        {"/proc/self/fd", "dev/fd"}, {"fd/0", "dev/stdin"}, {"fd/1", "dev/stdout"}, {"fd/2", "dev/stderr"},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) != 0 && errno != EEXIST) fail(links[i][1]);
    if (chroot(".") != 0) fail("chroot");
    enter("/");
    // perftest reads "cpu MHz" there, which User-Mode Linux does not have.
    if (!isQEMU && mount("/guest/cpuinfo", "/proc/cpuinfo", NULL, MS_BIND, NULL) != 0) perror("guest-init: cpuinfo");
}

// The line on which the host reads the output, without any translation of its bytes.
static int openOutput(const char *terminal) {
    int line = open(terminal, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (line < 0) fail(terminal);
    struct termios settings;
    tcgetattr(line, &settings);
    cfmakeraw(&settings);
    cfsetspeed(&settings, B115200);
    tcsetattr(line, TCSANOW, &settings);
    return line;
}

static _Noreturn void become(const char *script, const char *terminal) {
    setsid();
    int nothing = open("/dev/null", O_RDWR), line = open(terminal, O_WRONLY | O_NOCTTY);
    if (nothing < 0 || line < 0) _exit(commandNotStarted);
    dup2(nothing, STDIN_FILENO);
    dup2(line, STDOUT_FILENO);
    dup2(line, STDERR_FILENO);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("TERM", "dumb", 1);
    execl("/bin/bash", "bash", "-c", ". /guest/environment; exec /bin/bash \"$0\"", script, (char *)NULL);
    _exit(commandNotStarted);
}

// Runs a script to its end, reaping whatever else ends meanwhile: its exit code as a shell says it.
static int run(const char *script, const char *terminal) {
    pid_t child = fork();
    if (child == 0) become(script, terminal);
    if (child < 0) fail("fork");
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0 && errno != EINTR) return commandLost;
        if (ended == child && WIFEXITED(status)) return WEXITSTATUS(status);
        if (ended == child && WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    }
}

int main(void) {
    double started = secondsSinceBoot();
    readKernelArguments();
    FILE *modules = fopen("/modules/list", "r");
    isQEMU = modules != NULL;
    if (isQEMU) {
        mountAt("/dev", "devtmpfs", "dev", 0, NULL);
        loadModules(modules);
    }
    enterOverlay();
    double mounted = secondsSinceBoot();

    const char *terminal = isQEMU ? "/dev/ttyS1" : "/dev/ttyS0";
    int line = openOutput(terminal);
    int code = run("/guest/setup", terminal);
    double ready = secondsSinceBoot();
    if (code != 0) {
        dprintf(line, "guest-init: the set-up failed with %d\n", code);
        code = setupFailed;
    } else {
        code = run("/guest/command", terminal);
    }
    double ended = secondsSinceBoot();
    tcdrain(line);

    FILE *times = fopen("/guest/times", "w");
    if (times) {
        fprintf(times, "started %.2f mounted %.2f ready %.2f ended %.2f\n", started, mounted, ready, ended);
        fclose(times);
    }
    FILE *answer = fopen("/guest/exit-code", "w");
    if (answer) {
        fprintf(answer, "%d\n", code);
        fclose(answer);
    }
    switchOff();
}
