// The tests of native/core: one file per core file beside this one (ring_test.cc tests core/ring.cc), each
// including only <doctest.h> and the header under test. They run without Node, so they can run under
// sanitizers: MP_SANITIZE=address,undefined npm run test:native, MP_SANITIZE=thread npm run test:native.
// Concurrency is tested with threads here; forks and sanitizers do not mix, test/conformance forks.

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest.h>
