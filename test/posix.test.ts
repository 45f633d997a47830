/**
 * `node-multiprocessing/posix` on a POSIX system: descriptors, processes and programs, used well and badly. Each
 * test is a program of its own in a fresh Node process; the assertions are in the program.
 */

import { describe, expect, it } from 'vitest';
import { report, runFixture, runOk, type RunOptions } from './support/fixture.js';

const isWindows = process.platform === 'win32';
const onPosix = describe.skipIf(isWindows);
/** And not with what macOS takes in its place (npm run test:portable). */
const onLinux = it.skipIf(process.platform !== 'linux' || process.env['MP_TEST_PORTABLE'] === '1');

const PRELUDE = `
  import assert from 'node:assert/strict';
  import * as posix from 'node-multiprocessing/posix';
  import { newFds, openFds } from '../support/fds.mjs';
  const sh = (script, options) => posix.spawn('/bin/sh', ['sh', '-c', script], options);
  const exitcode = (pid) => posix.waitstatusToExitcode(posix.waitpid(pid)[1]);
  const fdsBefore = openFds();
`;

/** Runs a program with the module as \`posix\`; it must succeed and leave no descriptor open. */
async function check(body: string, options?: RunOptions): Promise<void> {
  await runOk({ mjs: `${PRELUDE}${body}\nassert.deepEqual(newFds(fdsBefore), []);` }, options);
}

onPosix('pipes and sockets', () => {
  it('carry bytes and end when the writer closes', async () => {
    await check(`
      const [r, w] = posix.pipe();
      assert.equal(posix.write(w, 'grüß'), 6);
      assert.equal(posix.read(r, 100).toString(), 'grüß');
      posix.write(w, new Uint8Array([1, 2, 3]).subarray(1));
      assert.deepEqual([...posix.read(r, 1), ...posix.read(r, 1)], [2, 3]);
      posix.close(w);
      assert.equal(posix.read(r, 10).length, 0);
      posix.close(r);
    `);
  });

  it('read into any view, from its beginning', async () => {
    await check(`
      const [r, w] = posix.pipe();
      const fill = (view) => { posix.write(w, 'abc'); return posix.read(r, view); };
      const bytes = new Uint8Array(8);
      assert.equal(fill(bytes.subarray(2, 4)), 2);
      assert.equal(posix.read(r, bytes), 1);
      assert.deepEqual([...bytes], [99, 0, 97, 98, 0, 0, 0, 0]);
      assert.equal(fill(new DataView(bytes.buffer, 5)), 3);
      assert.deepEqual([...bytes], [99, 0, 97, 98, 0, 97, 98, 99]);
      const shared = new Uint8Array(new SharedArrayBuffer(4));
      assert.equal(fill(shared), 3);
      assert.deepEqual([...shared], [97, 98, 99, 0]);
      const words = new Uint32Array(1);
      assert.equal(fill(words), 3);
      assert.equal(words[0] & 0xffffff, 0x636261);
      assert.equal(posix.read(r, new Uint8Array(0)), 0);
      posix.close(r); posix.close(w);
    `);
  });

  it('give Buffers of their own, small answers to large requests included', async () => {
    await check(`
      const [r, w] = posix.pipe();
      posix.write(w, 'one');
      const one = posix.read(r, 65536);
      posix.write(w, 'two');
      const two = posix.read(r, 10_000_000);
      assert.equal(one.toString() + two.toString(), 'onetwo');
      assert.ok(two.buffer.byteLength < 1_000_000);
      const large = Buffer.alloc(60_000, 7);
      for (const n of [60_000, 65_536, 100_000]) {
        posix.write(w, large);
        assert.ok(posix.read(r, n).equals(large));
      }
      assert.equal(posix.read(r, 0).length, 0);
      posix.close(r); posix.close(w);
    `);
  });

  it('are not inherited by programs, unless asked for', async () => {
    await check(`
      const isInherited = (fd) => exitcode(sh(\`[ -e /dev/fd/\${fd} ]\`)) === 0;
      for (const make of [posix.pipe, posix.socketpair]) {
        for (const cloexec of [true, false]) {
          const fds = make({ cloexec });
          assert.deepEqual(fds.map(isInherited), [!cloexec, !cloexec]);
          assert.deepEqual(fds.map(posix.getInheritable), [!cloexec, !cloexec]);
          fds.forEach(posix.close);
        }
        const fds = make();
        assert.deepEqual(fds.map(isInherited), [false, false]);
        posix.setInheritable(fds[0], true);
        assert.deepEqual(fds.map(isInherited), [true, false]);
        fds.forEach(posix.close);
      }
    `);
  });

  it('have the socket types of AF_UNIX', async () => {
    await check(`
      const stream = posix.socketpair();
      posix.write(stream[0], 'ab'); posix.write(stream[0], 'cd');
      assert.equal(posix.read(stream[1], 10).toString(), 'abcd');
      posix.write(stream[1], 'back');
      assert.equal(posix.read(stream[0], 10).toString(), 'back');
      const datagrams = posix.socketpair({ type: posix.SOCK_DGRAM });
      posix.write(datagrams[0], 'ab'); posix.write(datagrams[0], 'cd');
      assert.equal(posix.read(datagrams[1], 10).toString(), 'ab');
      [...stream, ...datagrams].forEach(posix.close);
      assert.throws(() => posix.socketpair({ type: 12345 }), { syscall: 'socketpair' });
    `);
  });

  it('block or not, as told', async () => {
    await check(`
      const [r, w] = posix.pipe();
      assert.equal(posix.getBlocking(r), true);
      posix.setBlocking(r, false);
      posix.setBlocking(w, false);
      assert.equal(posix.getBlocking(r), false);
      assert.throws(() => posix.read(r, 1), { code: 'EAGAIN', syscall: 'read' });
      const block = Buffer.alloc(1_000_000);
      assert.ok(posix.write(w, block) < block.length);
      assert.throws(() => posix.write(w, block), { code: 'EAGAIN', syscall: 'write' });
      posix.close(r);
      assert.throws(() => posix.write(w, 'x'), { code: 'EPIPE', syscall: 'write' });
      posix.close(w);
    `);
  });

  it('are copied by dup and dup2', async () => {
    await check(`
      const [r, w] = posix.pipe();
      const copy = posix.dup(w);
      assert.equal(posix.getInheritable(copy), false);
      posix.write(copy, 'via the copy');
      assert.equal(posix.read(r, 100).toString(), 'via the copy');
      assert.equal(posix.dup2(r, copy), copy);
      assert.equal(posix.getInheritable(copy), true);
      posix.write(w, 'x');
      assert.equal(posix.read(copy, 1).toString(), 'x');
      posix.dup2(r, copy, false);
      assert.equal(posix.getInheritable(copy), false);
      assert.equal(posix.dup2(r, r), r);
      assert.equal(posix.getInheritable(r), false);
      assert.throws(() => posix.dup2(r, r, false), { code: 'EINVAL', syscall: 'dup2' });
      assert.throws(() => posix.dup2(r, -1), { code: 'EBADF', syscall: 'dup2' });
      [r, w, copy].forEach(posix.close);
    `);
  });

  it('are no terminals', async () => {
    await check(`
      const [r, w] = posix.pipe();
      assert.deepEqual([r, w, -1, 9999].map(posix.isatty), [false, false, false, false]);
      posix.close(r); posix.close(w);
    `);
  });

  it('throw EBADF as an error of the system when closed', async () => {
    await check(`
      const [r, w] = posix.pipe();
      posix.close(r); posix.close(w);
      const calls = {
        read: () => posix.read(r, 1), write: () => posix.write(w, 'x'), close: () => posix.close(r),
        dup: () => posix.dup(r), dup2: () => posix.dup2(r, w), sendmsg: () => posix.sendFds(w, 'x', []),
        recvmsg: () => posix.recvFds(r, 1, 1),
      };
      for (const [syscall, call] of Object.entries(calls)) {
        assert.throws(call, (error) => error instanceof Error && error.code === 'EBADF' && error.errno < 0
          && error.syscall === syscall && error.message === 'EBADF: bad file descriptor, ' + syscall);
      }
      for (const f of [posix.getInheritable, posix.getBlocking]) assert.throws(() => f(r), { code: 'EBADF' });
      for (const f of [posix.setInheritable, posix.setBlocking]) {
        assert.throws(() => f(r, true), { code: 'EBADF' });
      }
    `);
  });

  it('throw EMFILE when no descriptor is left, and leak none', async () => {
    const limited = {
      node: '/bin/sh',
      execArgv: [
        '-c',
        'ulimit -n 64 && exec "$0" "$@"',
        process.env['MP_TEST_NODE'] ?? process.execPath,
      ],
    };
    await check(
      `
      const fds = [];
      const exhaust = (make) => { for (let i = 0; i < 1000; i++) fds.push(...make()); };
      assert.throws(() => exhaust(() => posix.pipe()), { code: 'EMFILE', syscall: 'pipe' });
      assert.throws(() => exhaust(() => posix.socketpair()), { code: 'EMFILE', syscall: 'socketpair' });
      assert.throws(() => exhaust(() => [posix.dup(0)]), { code: 'EMFILE', syscall: 'dup' });
      assert.ok(fds.length > 10 && fds.length < 64);
      fds.forEach(posix.close);
    `,
      limited,
    );
  });
});

onPosix('poll', () => {
  it('tells what is ready, and times out in seconds', async () => {
    await check(`
      const { POLLIN, POLLOUT, POLLHUP, POLLNVAL } = posix;
      const [r, w] = posix.pipe();
      const both = [{ fd: r, events: POLLIN }, { fd: w, events: POLLOUT }];
      assert.deepEqual(posix.poll(both), [[w, POLLOUT]]);
      const timed = (timeout) => {
        const start = performance.now();
        assert.deepEqual(posix.poll([{ fd: r }], timeout), []);
        return performance.now() - start;
      };
      const took = timed(0.1);
      assert.ok(took >= 100 && took < 5000, String(took));
      assert.ok(timed(0) < 1000);
      assert.ok(timed(-1) < 1000);
      posix.write(w, 'x');
      assert.deepEqual(posix.poll(new Set(both), null), [[r, POLLIN], [w, POLLOUT]]);
      posix.read(r, 1);
      posix.close(w);
      assert.deepEqual(posix.poll([{ fd: r, events: 0 }, { fd: -1 }]), [[r, POLLHUP]]);
      posix.close(r);
      assert.deepEqual(posix.poll([{ fd: r, events: POLLIN }], 1), [[r, POLLNVAL]]);
      assert.deepEqual(posix.poll([], 0.01), []);
    `);
  });
});

onPosix('descriptor passing', () => {
  it('gives the receiver descriptors of its own', async () => {
    await check(`
      const [a, b] = posix.socketpair();
      const [r, w] = posix.pipe({ cloexec: false });
      assert.equal(posix.sendFds(a, 'with', [r, w]), 4);
      posix.close(r); posix.close(w);
      const [data, fds, flags] = posix.recvFds(b, 100, 10);
      assert.equal(data.toString(), 'with');
      assert.equal(fds.length, 2);
      assert.equal(flags & posix.MSG_CTRUNC, 0);
      assert.deepEqual(fds.map(posix.getInheritable), [false, false]);
      posix.write(fds[1], 'through');
      assert.equal(posix.read(fds[0], 100).toString(), 'through');
      fds.forEach(posix.close);
      posix.close(a);
      assert.deepEqual(posix.recvFds(b, 100, 10), [Buffer.alloc(0), [], 0]);
      posix.close(b);
    `);
  });

  it('closes what does not fit and says so', async () => {
    await check(`
      const [a, b] = posix.socketpair();
      for (const most of [0, 1, 2]) {
        posix.sendFds(a, 'x', [0, 1, 2]);
        const before = openFds();
        const [, fds, flags] = posix.recvFds(b, 1, most);
        assert.equal(fds.length, most);
        assert.ok(flags & posix.MSG_CTRUNC);
        assert.equal(newFds(before).length, process.platform === 'linux' ? most : 0);
        fds.forEach(posix.close);
      }
      assert.throws(() => posix.recvFds(b, 1, 1, posix.MSG_DONTWAIT), { code: 'EAGAIN', syscall: 'recvmsg' });
      assert.throws(() => posix.sendFds(a, 'x', [9999]), { code: 'EBADF', syscall: 'sendmsg' });
      assert.throws(() => posix.sendFds(a, '', [0]), { name: 'ValueError' });
      assert.throws(() => posix.sendFds(a, 'x', [0, '1']), { name: 'TypeError', message: /fds\\[1\\]/ });
      posix.close(b);
      assert.throws(() => posix.sendFds(a, 'x', [0]), { code: 'EPIPE' });
      posix.close(a);
    `);
  });

  it('reaches another process', async () => {
    await runOk('posix-fd-passing.mjs');
  });
});

onPosix('spawn', () => {
  it('runs a program and waits for its exit code', async () => {
    await check(`
      assert.equal(exitcode(sh('exit 7')), 7);
      assert.equal(exitcode(posix.spawnp('sh', ['sh', '-c', 'exit 8'])), 8);
      assert.equal(exitcode(sh('kill -9 $$')), -9);
      assert.equal(exitcode(sh('exit 0', { resetids: true })), 0);
    `);
  });

  it('fails with the code of the exec, naming the program', async () => {
    await check(`
      assert.throws(() => posix.spawn('/no/such/program', ['x']), {
        code: 'ENOENT', syscall: 'posix_spawn',
        message: "ENOENT: no such file or directory, posix_spawn '/no/such/program'",
      });
      assert.throws(() => posix.spawn('/', ['x']), { code: 'EACCES' });
      assert.throws(() => posix.spawn('sh', ['x']), { code: 'ENOENT' });
      assert.throws(() => posix.spawnp('no-such-program', ['x']), { code: 'ENOENT', syscall: 'posix_spawnp' });
      assert.throws(() => posix.waitpid(-1), { code: 'ECHILD' });
    `);
  });

  it('gives the program its arguments, environment and descriptors', async () => {
    await check(
      `
      const output = (script, args, options = {}) => {
        const [r, w] = posix.pipe();
        const fileActions = [...(options.fileActions ?? []), [posix.POSIX_SPAWN_DUP2, w, 1]];
        const pid = posix.spawn('/bin/sh', ['sh', '-c', script, ...args], { ...options, fileActions });
        posix.close(w);
        let text = '';
        for (let part; (part = posix.read(r, 1000)).length > 0; ) text += part;
        posix.close(r);
        assert.equal(exitcode(pid), 0);
        return text;
      };
      assert.equal(output('printf "%s|" "$@"', ['', 'a b', 'ü']), 'a b|ü|');
      assert.equal(output('echo $COLOUR', []), 'red\\n');
      process.env.COLOUR = 'blue';
      assert.equal(output('echo $COLOUR', []), 'blue\\n');
      const env = { SHAPE: 'round=1', ABSENT: undefined };
      assert.equal(output('echo $SHAPE\${COLOUR-none}\${ABSENT-none}', [], { env }), 'round=1nonenone\\n');

      const { POSIX_SPAWN_OPEN, POSIX_SPAWN_CLOSE, O_RDONLY } = posix;
      assert.equal(output('cat <&5; [ -e /dev/fd/0 ] || echo closed', [], { fileActions: [
        [POSIX_SPAWN_OPEN, 5, '/dev/null', O_RDONLY, 0], [POSIX_SPAWN_CLOSE, 0],
      ] }), 'closed\\n');
    `,
      { env: { COLOUR: 'red' } },
    );
  });

  it('fails with the code of a file action', async () => {
    await check(`
      const start = (...fileActions) => () => sh('exit 0', { fileActions });
      assert.throws(start([posix.POSIX_SPAWN_DUP2, 9999, 1]), { code: 'EBADF' });
      assert.throws(start([posix.POSIX_SPAWN_OPEN, 5, '/no/such/file', 0, 0]), { code: 'ENOENT' });
      assert.throws(start([posix.POSIX_SPAWN_CLOSE, -1]), { code: 'EBADF' });
      assert.throws(() => posix.waitpid(-1), { code: 'ECHILD' });
    `);
  });

  it('sets signals, group and session', async () => {
    await check(`
      // Node ignores SIGPIPE, and exec keeps that.
      assert.equal(exitcode(sh('kill -PIPE $$; exit 3')), 3);
      assert.equal(exitcode(sh('kill -PIPE $$; exit 3', { setsigdef: ['SIGPIPE'] })), -posix.SIGPIPE);
      assert.equal(exitcode(sh('kill -TERM $$; exit 4', { setsigmask: [posix.SIGTERM, 'SIGHUP'] })), 4);

      const grouped = sh('exec sleep 30', { setpgroup: 0 });
      assert.equal(posix.getpgid(grouped), grouped);
      assert.equal(posix.getsid(grouped), posix.getsid(0));
      const leader = sh('exec sleep 30', { setsid: true });
      assert.equal(posix.getsid(leader), leader);
      const joined = sh('exec sleep 30', { setpgroup: grouped });
      assert.equal(posix.getpgid(joined), grouped);
      posix.kill(-grouped, 'SIGKILL');
      posix.kill(leader, posix.SIGKILL);
      assert.deepEqual([grouped, joined, leader].map(exitcode), [-9, -9, -9]);
    `);
  });

  it('refuses wrong arguments before anything is started', async () => {
    await check(`
      const refuses = (name, message, ...args) => assert.throws(() => posix.spawn(...args), { name, message });
      refuses('TypeError', /path/, 7, ['x']);
      refuses('ValueError', /path.*null byte/, '/bin/\\0sh', ['x']);
      refuses('TypeError', /argv/, '/bin/sh', 'x');
      refuses('TypeError', /argv\\[1\\]/, '/bin/sh', ['x', 1]);
      refuses('ValueError', /argv must not be empty/, '/bin/sh', []);
      refuses('ValueError', /first element of argv/, '/bin/sh', ['']);
      const option = (name, message, options) => refuses(name, message, '/bin/sh', ['sh', '-c', ':'], options);
      option('TypeError', /env/, { env: 7 });
      option('TypeError', /env.A/, { env: { A: 1 } });
      option('ValueError', /illegal environment variable name/, { env: { 'A=B': 'x' } });
      option('ValueError', /illegal environment variable name/, { env: { '': 'x' } });
      option('ValueError', /null byte/, { env: { A: '\\0' } });
      option('TypeError', /fileActions must be an iterable/, { fileActions: 7 });
      option('TypeError', /fileActions\\[0\\]/, { fileActions: [7] });
      option('TypeError', /POSIX_SPAWN constant/, { fileActions: [[99, 1]] });
      option('TypeError', /an array of 2 elements/, { fileActions: [[posix.POSIX_SPAWN_CLOSE, 1, 2]] });
      option('TypeError', /fileActions\\[0\\]\\[2\\]/, { fileActions: [[posix.POSIX_SPAWN_DUP2, 1, '2']] });
      option('TypeError', /setpgroup/, { setpgroup: true });
      option('TypeError', /setsid/, { setsid: 1 });
      option('ValueError', /signal number 999 out of range/, { setsigdef: [999] });
      option('ValueError', /out of range/, { setsigmask: [0] });
      option('ValueError', /SIGNOPE/, { setsigmask: ['SIGNOPE'] });
      assert.throws(() => posix.waitpid(-1), { code: 'ECHILD' });
    `);
  });
});

onPosix('waitpid', () => {
  it('waits, polls with WNOHANG, and fails without such a child', async () => {
    await check(`
      const [r, w] = posix.pipe();
      const pid = sh('read line; exit 5', { fileActions: [[posix.POSIX_SPAWN_DUP2, r, 0]] });
      posix.close(r);
      assert.deepEqual(posix.waitpid(pid, posix.WNOHANG), [0, 0]);
      posix.close(w);
      const [waited, status] = posix.waitpid(pid, 0);
      assert.equal(waited, pid);
      assert.ok(posix.WIFEXITED(status) && !posix.WIFSIGNALED(status) && !posix.WIFSTOPPED(status));
      assert.equal(posix.WEXITSTATUS(status), 5);
      assert.throws(() => posix.waitpid(pid), { code: 'ECHILD', syscall: 'waitpid' });
      assert.throws(() => posix.waitpid(posix.getppid()), { code: 'ECHILD' });
      assert.throws(() => posix.waitpid(-1, 0x7fffffff), { code: 'EINVAL' });
    `);
  });

  it('sees children stop, go on and die of a signal', async () => {
    await check(`
      const pid = sh('kill -STOP $$; exec sleep 30');
      let [, status] = posix.waitpid(pid, posix.WUNTRACED);
      assert.ok(posix.WIFSTOPPED(status) && !posix.WIFEXITED(status));
      assert.equal(posix.WSTOPSIG(status), posix.SIGSTOP);
      assert.throws(() => posix.waitstatusToExitcode(status), {
        name: 'ValueError', message: 'process stopped by delivery of signal ' + posix.SIGSTOP,
      });
      posix.kill(pid, 'SIGCONT');
      [, status] = posix.waitpid(pid, posix.WCONTINUED);
      assert.ok(posix.WIFCONTINUED(status) && !posix.WIFSTOPPED(status));
      assert.throws(() => posix.waitstatusToExitcode(status), { name: 'ValueError', message: /invalid wait status/ });
      posix.kill(pid, posix.SIGKILL);
      [, status] = posix.waitpid(pid);
      assert.ok(posix.WIFSIGNALED(status));
      assert.equal(posix.WTERMSIG(status), 9);
      assert.equal(posix.WCOREDUMP(status), false);
      assert.equal(posix.waitstatusToExitcode(status), -9);
    `);
  });

  it('waits for any child, and keeps away from those it was not asked for', async () => {
    await check(`
      const pids = [sh('exit 1'), sh('exit 2')];
      assert.equal(exitcode(pids[1]), 2);
      const [pid, status] = posix.waitpid(-1);
      assert.deepEqual([pid, posix.waitstatusToExitcode(status)], [pids[0], 1]);
    `);
  });
});

onPosix('processes', () => {
  it('know their ids', async () => {
    await check(`
      import { execFileSync } from 'node:child_process';
      assert.equal(posix.getpid(), process.pid);
      assert.equal(posix.getppid(), process.ppid);
      assert.equal(posix.getsid(0), posix.getsid(process.pid));
      assert.equal(posix.getpgid(0), process.pid); // The fixture's runner gave it a group, and it leads it:
      assert.throws(() => posix.setsid(), { code: 'EPERM', syscall: 'setsid' });
      const absent = sh(':');
      exitcode(absent);
      for (const f of [posix.getsid, posix.getpgid]) assert.throws(() => f(absent), { code: 'ESRCH' });
      assert.throws(() => posix.setpgid(absent, 0), { code: 'ESRCH', syscall: 'setpgid' });
      const child = sh('exec sleep 30');
      assert.throws(() => posix.setpgid(child, 0), { code: 'EACCES' });
      posix.kill(child, 'SIGKILL');
      exitcode(child);
    `);
  });

  it('become session leaders', async () => {
    await check(`
      const node = posix.spawn(process.execPath, [process.execPath, '--input-type=module', '-e', \`
        import { getpid, getsid, setsid } from 'node-multiprocessing/posix';
        setsid();
        process.exitCode = getsid(0) === getpid() ? 6 : 1;
      \`]);
      assert.equal(exitcode(node), 6);
    `);
  });

  it('are signalled by name and number', async () => {
    await check(`
      posix.kill(process.pid, 0);
      const absent = sh(':');
      exitcode(absent);
      assert.throws(() => posix.kill(absent, 0), { code: 'ESRCH', syscall: 'kill' });
      assert.throws(() => posix.kill(absent, 'SIGTERM'), { code: 'ESRCH' });
      assert.throws(() => posix.kill(process.pid, 999), { code: 'EINVAL' });
      assert.throws(() => posix.kill(process.pid, 'SIGNOPE'), { name: 'ValueError', message: /SIGNOPE/ });
      assert.throws(() => posix.kill(process.pid, 'toString'), { name: 'ValueError' });
      assert.throws(() => posix.kill(process.pid), { name: 'TypeError', message: /signal/ });
      assert.throws(() => posix.kill(2 ** 40, 0), { name: 'RangeError', message: /pid/ });
      const got = new Promise((resolve) => process.once('SIGUSR2', resolve));
      const awake = setTimeout(() => {}, 10_000); // A listener alone does not keep the loop alive.
      posix.kill(process.pid, 'SIGUSR2');
      assert.equal(await got, 'SIGUSR2');
      clearTimeout(awake);
    `);
  });

  it('end at once by _exit', async () => {
    const { code, stdout } = await runFixture({
      mjs: `
        import { _exit } from 'node-multiprocessing/posix';
        process.on('exit', () => console.log('a listener ran'));
        try { _exit(300); } finally { console.log('a finally ran'); }
      `,
    });
    expect([code, stdout]).toEqual([300 & 0xff, '']);
  });

  onLinux('are bound to CPUs', async () => {
    await check(`
      const all = posix.schedGetaffinity(0);
      assert.ok(all instanceof Set && all.size > 0);
      const one = [...all].at(-1);
      posix.schedSetaffinity(0, new Set([one]));
      assert.deepEqual(posix.schedGetaffinity(0), new Set([one]));
      assert.deepEqual(posix.schedGetaffinity(process.pid), new Set([one]));
      posix.schedSetaffinity(0, [...all, 5000, 2 ** 31 - 1]);
      assert.deepEqual(posix.schedGetaffinity(0), all);
      assert.throws(() => posix.schedSetaffinity(0, []), { code: 'EINVAL', syscall: 'sched_setaffinity' });
      assert.throws(() => posix.schedSetaffinity(0, [5000]), { code: 'EINVAL' });
      assert.throws(() => posix.schedSetaffinity(0, [-1]), { name: 'ValueError', message: 'negative CPU number' });
      assert.throws(() => posix.schedSetaffinity(0, ['0']), { name: 'TypeError' });
      assert.throws(() => posix.schedSetaffinity(0, [2 ** 31]), { name: 'RangeError' });
      assert.throws(() => posix.schedSetaffinity(0, 3), { name: 'TypeError', message: /iterable/ });
      assert.throws(() => posix.schedGetaffinity(2 ** 31 - 1), { code: 'ESRCH', syscall: 'sched_getaffinity' });
    `);
  });
});

onPosix('a signal during a blocking call', () => {
  it.each(['read', 'write', 'waitpid', 'poll', 'recvFds'])(
    'lets %s go on, and its listener run afterwards',
    async (call) => {
      await runOk('posix-interrupted.mjs', { args: [call, 'listen'] });
    },
  );

  it.each(['read', 'write', 'waitpid', 'poll', 'recvFds'])(
    'ends the process in the middle of %s when nobody listens',
    async (call) => {
      const result = await runFixture('posix-interrupted.mjs', { args: [call] });
      expect(result, report(result)).toMatchObject({ signal: 'SIGINT', stdout: '' });
    },
  );
});

onPosix('arguments', () => {
  it('are checked by type and range', async () => {
    await check(`
      const typed = [
        () => posix.read('0', 1), () => posix.read(0.5, 1), () => posix.read(NaN, 1), () => posix.read(true, 1),
        () => posix.read(0n, 1), () => posix.read(), () => posix.read(0), () => posix.read(0, '1'), () => posix.read(0, 1.5),
        () => posix.read(0, [1]), () => posix.read(0, new ArrayBuffer(1)),
        () => posix.write(1), () => posix.write(1, 7), () => posix.write(1, [1]), () => posix.write(1, null),
        () => posix.close('1'), () => posix.dup(null), () => posix.dup2(1), () => posix.dup2(1, 2, 1),
        () => posix.pipe({ cloexec: 1 }), () => posix.socketpair({ type: 'stream' }),
        () => posix.poll(7), () => posix.poll([7]), () => posix.poll([{}]), () => posix.poll([{ fd: 1, events: 'in' }]),
        () => posix.poll([], '1'), () => posix.waitpid('1'), () => posix.waitpid(1, null),
        () => posix.setInheritable(1, 1), () => posix.setBlocking(1, 'yes'), () => posix.WIFEXITED('0'),
        () => posix._exit('0'), () => posix.recvFds(0, '1', 1),
      ];
      for (const call of typed) assert.throws(call, { name: 'TypeError' }, String(call));
      const ranged = [
        () => posix.read(2 ** 31, 1), () => posix.read(-(2 ** 31) - 1, 1), () => posix.read(0, -1),
        () => posix.read(0, 2 ** 60), () => posix.waitpid(2 ** 40), () => posix.recvFds(0, -1, 1),
        () => posix.recvFds(0, 1, -1), () => posix.WEXITSTATUS(2 ** 40),
      ];
      for (const call of ranged) assert.throws(call, { name: 'RangeError' }, String(call));
      assert.throws(() => posix.poll([], NaN), { name: 'ValueError' });
      assert.throws(() => posix.waitstatusToExitcode(-1), { name: 'ValueError', message: 'invalid wait status: -1' });
    `);
  });
});

describe('the module', () => {
  it('has constants as the system has them', async () => {
    await runOk({
      mjs: `
        import assert from 'node:assert/strict';
        import os from 'node:os';
        import * as posix from 'node-multiprocessing/posix';
        assert.equal(posix.SIGTERM, os.constants.signals.SIGTERM);
        if (process.platform !== 'win32') {
          const names = ['WNOHANG', 'WUNTRACED', 'AF_UNIX', 'SOCK_STREAM', 'POLLIN', 'O_CLOEXEC', 'O_RDWR', 'SIGCHLD'];
          for (const name of names) assert.equal(typeof posix[name], 'number', name);
        }
        const missing = Object.entries(posix).filter(([name, value]) => value === undefined).map(([name]) => name);
        if (process.platform === 'linux') assert.deepEqual(missing, []);
      `,
    });
  });

  it.runIf(isWindows)('names what Windows does not have', async () => {
    await runOk({
      mjs: `
        import assert from 'node:assert/strict';
        import * as posix from 'node-multiprocessing/posix';
        const calls = {
          pipe: () => posix.pipe(), socketpair: () => posix.socketpair(), waitpid: () => posix.waitpid(1),
          posix_spawn: () => posix.spawn('x', ['x']), sched_getaffinity: () => posix.schedGetaffinity(0),
        };
        for (const [syscall, call] of Object.entries(calls)) assert.throws(call, { code: 'ENOSYS', syscall });
        assert.equal(posix.getpid(), process.pid);
      `,
    });
  });
});
