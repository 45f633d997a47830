/*
 * Found before the C library's own by the builds of scripts/prebuild.mjs. libstdc++'s headers include <sys/single_threaded.h>
 * wherever there is one, and then ask this variable whether they may do without atomics. glibc has it from 2.32 on only;
 * here it is ours (missing.c), and says no.
 */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

extern char __libc_single_threaded;

#ifdef __cplusplus
}
#endif
