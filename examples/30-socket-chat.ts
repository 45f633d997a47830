/**
 * A socket accepted by the parent is served by a child: a server with a process for each client.
 *
 * Run it, then talk to it from other terminals (`nc 127.0.0.1 <port>`); Ctrl-C ends it.
 *
 * After test/fixtures/python/30_socket_chat.py (seed 003).
 */

import net from 'node:net';
import { Process, currentProcess } from 'node-multiprocessing';

function talk(conn: net.Socket, clientAddr?: string): void {
  const { name } = currentProcess();
  console.log(`${name}: ${clientAddr} is here`);
  conn.on('data', (msg) => conn.write(`${name}: ${msg.toString().toUpperCase()}`));
  conn.on('close', () => console.log(`${name}: ${clientAddr} has left`));
}

const server = net.createServer((conn) => {
  const p = new Process({ target: talk, args: [conn, conn.remoteAddress] });
  p.start();
  conn.destroy(); // The child has its own copy of it.
});
server.listen(0, '127.0.0.1', () => {
  console.log('listening on port', (server.address() as net.AddressInfo).port);
});
