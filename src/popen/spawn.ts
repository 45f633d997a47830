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

type Delivery = [popen: Popen, launched: Spawn.Launched];

/** Children that have not read what they are sent, of those that are started together. */
let undelivered: Delivery[] | undefined;

/**
 * Calls `body`, which starts several processes: none of them waits for another one to read what it is sent.
 *
 * @throws what `body` throws, and what cannot be delivered, when all else was.
 */
export function launchTogether(body: () => void): void {
  const outer = undelivered;
  const mine: Delivery[] = (undelivered = []);
  let failure: { error: unknown } | undefined;
  const attempt = (step: () => void): void => {
    try {
      step();
    } catch (error) {
      failure ??= { error };
    }
  };
  attempt(body);
  undelivered = outer;
  for (const [popen, launched] of mine) {
    // Somebody may have ended it meanwhile, and with it what it was to get.
    if (popen.poll() === null) attempt(() => deliver(popen, launched, -1));
    launched.close();
  }
  if (failure !== undefined) throw failure.error;
}

/** Launches `child` as a process of its own. @param startMethod what the child's default is to be. */
export function launch(child: BaseProcess, startMethod: string | null): Popen {
  const { launchSpawned } = lazyPart<typeof Spawn>('spawn');
  let launched: Spawn.Launched | undefined;
  let isDelivered = true;
  try {
    const popen = new ChildPopen(child.daemon || child._endsWithParent, (sentinel) => {
      launched = launchSpawned(child, startMethod, sentinel?.[1]);
      return launched.pid;
    });
    // By now the child ends with this process if a signal ends it meanwhile.
    isDelivered = deliver(popen, launched!, undelivered === undefined ? -1 : 0);
    if (!isDelivered) undelivered!.push([popen, launched!]);
    return popen;
  } finally {
    if (isDelivered) launched?.close();
  }
}

function deliver(popen: Popen, launched: Spawn.Launched, milliseconds: number): boolean {
  try {
    return launched.deliver(milliseconds);
  } catch (error) {
    native.kill(popen.pid, osConstants().signals.SIGKILL);
    popen.wait(-1);
    popen.close();
    throw error;
  }
}
