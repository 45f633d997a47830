/**
 * A Pipe has two ends: the child sends a list into one, the parent receives it from the other.
 *
 * After test/fixtures/python/25_pipe.py (seed 002).
 */

import { Pipe, Process, type Connection } from 'node-multiprocessing';

function f(conn: Connection): void {
  conn.send([42, null, 'hello']);
  conn.close();
}

const [parentConn, childConn] = Pipe();
const p = new Process({ target: f, args: [childConn] });
p.start();
console.log(parentConn.recv());
p.join();
