// Which calls the system has: decided here, and nowhere else.
//
//   MP_LINUX        Linux, with all that it has on top of POSIX
//   MP_PLAIN_POSIX  what POSIX has, and macOS
//
// A Linux build with MP_PLAIN_POSIX does as macOS does. `npm run test:portable` runs the addon that way, and
// `npm run test:native` the tests of the core (core_napping in CMakeLists.txt), so that what macOS takes is run and not
// only compiled. docs/platforms.md has the list of what stands in for what.
//
// A small difference is an #if in its place. A larger one is a file for each, x_linux.cc and x_plain.cc, both in
// every build, of which one is empty. What has nothing to do with POSIX (native/core/fork.cc: V8's threads, ELF) asks
// for __linux__.
#pragma once

#if defined(__linux__) && !defined(MP_PLAIN_POSIX)
#define MP_LINUX
#elif !defined(_WIN32) && !defined(MP_PLAIN_POSIX)
#define MP_PLAIN_POSIX
#endif
