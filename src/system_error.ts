/** Errors as the system's, where no system call has failed. Anyone above the native layer may import this file. */

import { osConstants } from './lazy_builtin.js';

/** As a failed system call's, where there was none, or with a message that says more. */
export function systemError(
  code: 'EBADF' | 'ECONNRESET' | 'EMSGSIZE' | 'ENOSYS',
  syscall: string,
  message: string,
): Error {
  return Object.assign(new Error(message), { errno: -osConstants().errno[code], code, syscall });
}
