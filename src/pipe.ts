/**
 * `Pipe`, which has connection.ts loaded with the first one: connections are a sixth of the code that an import would
 * have to compile.
 */

import type * as Connections from './connection.js';
import { lazyPart } from './lazy_builtin.js';

let connections: typeof Connections | undefined;

/**
 * Two connected ends: what is sent into one is received from the other. Mirrors `multiprocessing.Pipe`.
 *
 * @param duplex false: the first end can only receive, the second only send.
 * @throws Error EMFILE, ENFILE: no descriptor left.
 */
export function Pipe(duplex: boolean = true): [Connections.Connection, Connections.Connection] {
  connections ??= lazyPart<typeof Connections>('connection');
  return connections.Connection._pair(Boolean(duplex));
}
