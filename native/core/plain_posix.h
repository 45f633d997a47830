#pragma once

// MP_PLAIN_POSIX: do with what POSIX has, where Linux has something better. So it is on macOS; the tests of the core
// build this way on Linux, too (core_napping in CMakeLists.txt), so that what macOS takes is run and not only compiled.
// It includes waiting without a futex (parking.cc), pipes and sockets that become close-on-exec a moment later (fd.cc),
// no memory files (fd.cc), sleeping what is left (clock.cc), and looking at a named semaphore again and again (named_semaphore.cc).

#if defined(__APPLE__) && !defined(MP_PLAIN_POSIX)
#define MP_PLAIN_POSIX
#endif
