/* What libstdc++.a of a later system takes from the C library and glibc 2.28 has not; scripts/prebuild.mjs links it in. */

#include <sys/single_threaded.h>

/* Never: Node has threads before it loads an addon. */
char __libc_single_threaded = 0;
