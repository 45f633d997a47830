/**
 * Launching a child by fork(2): the counterpart of CPython's `popen_fork.py`.
 *
 * The child has everything of its parent, closures and module state included, as it was at `start()`. How it is
 * waited for and ended is in child.ts.
 */

import { forkProcess } from '../fork.js';
import { compiledBeforeFork, isRehearsal } from '../at_fork.js';
import { native } from '../native.js';
import { bootstrap, type BaseProcess, type Popen } from '../process.js';
import { endChildren } from '../util.js';
import { ChildPopen, dieWithParent, type SentinelPipe } from './child.js';

/** The writing end of this child's own sentinel pipe, where there is no pidfd. */
let ownSentinelWrite: number | undefined;

interface ChildJob {
  child: BaseProcess;
  parent: number;
  endsWithParent: boolean;
  sentinel: SentinelPipe;
}

/** The child, on its empty stack. */
function runChild({ child, parent, endsWithParent, sentinel }: ChildJob): void {
  if (isRehearsal()) return;
  if (ownSentinelWrite !== undefined) native.close(ownSentinelWrite);
  if (sentinel !== undefined) native.close(sentinel[0]);
  ownSentinelWrite = sentinel?.[1];
  if (endsWithParent) dieWithParent(parent);
  bootstrap(child, endChildren);
}

compiledBeforeFork(() => runChild({} as ChildJob));

/** Launches `child` by fork. */
export function launch(child: BaseProcess): Popen {
  const endsWithParent = child.daemon || child._endsWithParent;
  const parent = native.getpid();
  return new ChildPopen(endsWithParent, (sentinel) =>
    forkProcess(runChild, { child, parent, endsWithParent, sentinel }),
  );
}
