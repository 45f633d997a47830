/**
 * Launching a child as a fresh node: the counterpart of CPython's `popen_spawn_posix.py`. src/spawn.ts has what the
 * child is told and how its node is started, src/spawn_child.ts what it does; how it is waited for and ended is in
 * child.ts.
 */

import { lazyPart, osConstants } from '../lazy_builtin.js';
import { native } from '../native.js';
import type { BaseProcess, Popen } from '../process.js';
import type * as Spawn from '../spawn.js';
import { ChildPopen } from './child.js';

/** Launches `child` as a process of its own. @param startMethod what the child's default is to be. */
export function launch(child: BaseProcess, startMethod: string | null): Popen {
  const { launchSpawned } = lazyPart<typeof Spawn>('spawn');
  let launched: Spawn.Launched | undefined;
  try {
    const popen = new ChildPopen(child.daemon || child._endsWithParent, (sentinel) => {
      launched = launchSpawned(child, startMethod, sentinel?.[1]);
      return launched.pid;
    });
    // By now the child ends with this process if a signal ends it meanwhile.
    deliver(popen, launched!);
    return popen;
  } finally {
    launched?.close();
  }
}

function deliver(popen: Popen, launched: Spawn.Launched): void {
  try {
    launched.deliver();
  } catch (error) {
    native.kill(popen.pid, osConstants().signals.SIGKILL);
    popen.wait(-1);
    popen.close();
    throw error;
  }
}
