// MP_STEP() stands between two changes of shared memory: where a process may be killed and it makes a difference. In
// the tests each of them is a place to die (test/native/channel_test.cc); elsewhere it is nothing.
#ifndef MP_CORE_STEPS_H_
#define MP_CORE_STEPS_H_

#if defined(MP_TEST_STEPS)
namespace mp::core {
extern void (*at_step)();
}  // namespace mp::core
#define MP_STEP() ::mp::core::at_step()
#else
#define MP_STEP() static_cast<void>(0)
#endif

#endif  // MP_CORE_STEPS_H_
