/**
 * `node-multiprocessing/posix`: shared memory objects, mappings and named semaphores, used well and badly. Each
 * test is a program of its own in a fresh Node process; the assertions are in the program.
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runOk, type RunOptions } from './support/fixture.js';
import { shmLeftovers, shmSnapshot } from './support/shm.js';

const onPosix = describe.skipIf(process.platform === 'win32');
/** And not with what macOS takes in its place (npm run test:portable). */
const onLinux = it.skipIf(process.platform !== 'linux' || process.env['MP_TEST_PORTABLE'] === '1');

const PRELUDE = `
  import assert from 'node:assert/strict';
  import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, ftruncateSync } from 'node:fs';
  import os from 'node:os';
  import path from 'node:path';
  import { Worker } from 'node:worker_threads';
  import * as posix from 'node-multiprocessing/posix';
  import { newFds, openFds } from '../support/fds.mjs';
  const here = process.pid;
  const ours = (suffix) => '/mpt' + here + '_' + suffix;
  const { O_CREAT, O_EXCL, O_RDWR, O_RDONLY, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS } = posix;
  const exitcode = (pid) => posix.waitstatusToExitcode(posix.waitpid(pid)[1]);
  const timed = (call) => {
    const start = performance.now();
    const answer = call();
    return [answer, (performance.now() - start) / 1000];
  };
  const fdsBefore = openFds();
`;

/** Runs a program with the module as \`posix\`; it must succeed and leave no descriptor open. */
async function check(body: string, options?: RunOptions): Promise<void> {
  await runOk({ mjs: `${PRELUDE}${body}\nassert.deepEqual(newFds(fdsBefore), []);` }, options);
}

let before: Set<string>;
beforeEach(() => {
  before = shmSnapshot();
});
afterEach(async () => {
  expect(await shmLeftovers(before)).toEqual([]);
});

onPosix('shared memory objects', () => {
  it('are made, opened, sized, mapped and unlinked', async () => {
    await check(`
      const fd = posix.shmOpen(ours('a'), O_CREAT | O_EXCL | O_RDWR, 0o640);
      assert.equal(posix.getInheritable(fd), false);
      assert.throws(() => posix.shmOpen(ours('a'), O_CREAT | O_EXCL | O_RDWR), { code: 'EEXIST', syscall: 'shm_open' });
      assert.throws(() => posix.mmap(fd, 0), { name: 'ValueError', message: 'cannot mmap an empty file' });
      posix.ftruncate(fd, 16_384); // A whole page: macOS counts in them.
      const a = new Uint8Array(posix.mmap(fd, 16_384));
      const other = posix.shmOpen(ours('a'));
      const b = new Uint8Array(posix.mmap(other, 0));
      assert.equal(b.length, 16_384);
      a[9_999] = 7;
      assert.equal(b[9_999], 7);
      posix.close(other);
      posix.close(fd);
      posix.shmUnlink(ours('a'));
      assert.throws(() => posix.shmOpen(ours('a')), { code: 'ENOENT' });
      assert.throws(() => posix.shmUnlink(ours('a')), { code: 'ENOENT', syscall: 'shm_unlink' });
      b[0] = 5;
      assert.equal(a[0], 5);
      posix.munmap(a);
      assert.equal(a.length, 0);
      posix.munmap(b.buffer);
    `);
  });

  it('refuse what is not possible', async () => {
    await check(`
      assert.throws(() => posix.shmOpen(7), TypeError);
      assert.throws(() => posix.shmOpen('a\\0b'), { name: 'ValueError' });
      for (const lone of ['/a\\uD800', '/\\uDFFFa']) {
        assert.throws(() => posix.shmOpen(lone, O_CREAT | O_RDWR), { name: 'ValueError', message: /lone surrogate/ });
        assert.throws(() => posix.shmUnlink(lone), { name: 'ValueError' });
        assert.throws(() => posix.semOpen(lone, O_CREAT), { name: 'ValueError' });
        assert.throws(() => posix.semUnlink(lone), { name: 'ValueError' });
      }
      assert.throws(() => posix.shmOpen('/a/b', O_CREAT | O_RDWR), { syscall: 'shm_open' });
      assert.throws(() => posix.shmOpen('/', O_CREAT | O_RDWR), { code: 'EINVAL' });
      assert.throws(() => posix.ftruncate(-1, 5), { code: 'EBADF', syscall: 'ftruncate' });
      assert.throws(() => posix.ftruncate(0, -1), RangeError);
      assert.throws(() => posix.ftruncate(0, 1.5), TypeError);
    `);
  });

  onLinux('get their memory by posixFallocate', async () => {
    await check(`
      const fd = posix.shmOpen(ours('f'), O_CREAT | O_RDWR);
      posix.shmUnlink(ours('f'));
      posix.posixFallocate(fd, 0, 3_000_000);
      assert.equal(statSync('/proc/self/fd/' + fd).size, 3_000_000);
      assert.ok(statSync('/proc/self/fd/' + fd).blocks * 512 >= 3_000_000);
      posix.posixFallocate(fd, 2_000_000, 2_000_000);
      assert.equal(statSync('/proc/self/fd/' + fd).size, 4_000_000);
      assert.throws(() => posix.posixFallocate(fd, 0, 0), { code: 'EINVAL', syscall: 'posix_fallocate' });
      assert.throws(() => posix.posixFallocate(fd, 0, 2 ** 52), { code: /ENOSPC|EFBIG/ });
      assert.throws(() => posix.posixFallocate(-1, 0, 1), { code: 'EBADF' });
      posix.close(fd);
    `);
  });
});

onPosix('mmap', () => {
  it('maps a file, shared and private, from an offset', async () => {
    await check(`
      const folder = mkdtempSync(path.join(os.tmpdir(), 'mpt'));
      const file = path.join(folder, 'file');
      const page = 65_536; // A multiple of every page size.
      writeFileSync(file, Buffer.alloc(page + 100, 'a'));
      const fd = openSync(file, 'r+');
      const shared = new Uint8Array(posix.mmap(fd, 100, MAP_SHARED, PROT_READ | PROT_WRITE, page));
      const mine = new Uint8Array(posix.mmap(fd, 0, MAP_PRIVATE));
      shared[0] = 66;
      mine[1] = 67;
      assert.equal(readFileSync(file, 'latin1').slice(page, page + 2), 'Ba');
      assert.equal(mine.length, page + 100);
      assert.equal(String.fromCharCode(...mine.subarray(0, 3)), 'aCa');
      const rest = posix.mmap(fd, 0, MAP_SHARED, PROT_READ | PROT_WRITE, page);
      assert.equal(rest.byteLength, 100);
      for (const view of [shared, mine, rest]) posix.munmap(view);
      closeSync(fd);

      // For reading only: a private copy of what is written.
      const read = openSync(file, 'r');
      assert.throws(() => posix.mmap(read, 0), { code: 'EACCES', syscall: 'mmap' });
      const copy = new Uint8Array(posix.mmap(read, 0, MAP_PRIVATE));
      copy[0] = 90;
      assert.equal(readFileSync(file, 'latin1')[0], 'a');
      closeSync(read);
      posix.munmap(copy);
      rmSync(folder, { recursive: true });
    `);
  });

  it('gives memory that a child shares', async () => {
    await check(`
      const words = new Int32Array(posix.mmap(-1, 4096));
      const own = new Int32Array(posix.mmap(-1, 4096, MAP_PRIVATE | MAP_ANONYMOUS));
      words[0] = 1;
      own[0] = 1;
      const pid = posix.fork();
      if (pid === 0) {
        words[1] = words[0] + 1;
        own[0] = 2;
        posix.munmap(words);
        posix._exit(words.length);
      }
      assert.equal(exitcode(pid), 0);
      assert.deepEqual([words[0], words[1], own[0]], [1, 2, 1]);
      posix.munmap(words);
      posix.munmap(own);
    `);
  });

  it('refuses what would be a crash later', async () => {
    await check(`
      const fd = posix.shmOpen(ours('m'), O_CREAT | O_RDWR);
      posix.shmUnlink(ours('m'));
      posix.ftruncate(fd, 32_768);
      const greater = { name: 'ValueError', message: 'mmap length is greater than file size' };
      assert.throws(() => posix.mmap(fd, 32_769), greater);
      assert.throws(() => posix.mmap(fd, 2 ** 40), greater);
      assert.throws(() => posix.mmap(fd, 16_385, MAP_SHARED, undefined, 16_384), greater);
      assert.throws(() => posix.mmap(fd, 1, MAP_SHARED, undefined, 65_536), { name: 'ValueError', message: 'mmap offset is greater than file size' });
      assert.throws(() => posix.mmap(fd, 1, MAP_SHARED, undefined, 1), { code: 'EINVAL', syscall: 'mmap' });
      assert.throws(() => posix.mmap(fd, 0, MAP_SHARED, PROT_READ), { name: 'ValueError', message: /PROT_WRITE/ });
      assert.throws(() => posix.mmap(fd, 0, MAP_SHARED, 0), { name: 'ValueError' });
      assert.throws(() => posix.mmap(fd, 0, MAP_SHARED | 0x10), { code: 'EINVAL' }); // MAP_FIXED
      assert.throws(() => posix.mmap(fd, 0, 0), { code: 'EINVAL' });
      assert.throws(() => posix.mmap(fd, -1), RangeError);
      assert.throws(() => posix.mmap(fd, 1, MAP_SHARED, undefined, -1), RangeError);
      assert.throws(() => posix.mmap('3', 1), TypeError);
      assert.throws(() => posix.mmap(-1, 0), { code: 'EINVAL' });
      assert.throws(() => posix.mmap(9999, 10), { code: 'EBADF' });
      assert.throws(() => posix.mmap(-1, 2 ** 50), { code: 'ENOMEM' });
      const pair = posix.socketpair();
      assert.throws(() => posix.mmap(pair[0], 10), { code: /^(ENODEV|EINVAL)$/ });
      [fd, ...pair].forEach(posix.close);
    `);
  });

  it('munmap takes mappings only, and each once', async () => {
    await check(`
      const map = posix.mmap(-1, 4096);
      const views = [new Uint8Array(map), new Float64Array(map, 8, 2), new DataView(map), Buffer.from(map)];
      posix.munmap(views[1]);
      assert.deepEqual([map.byteLength, views[0].length, views[1].length, views[3].length], [0, 0, 0, 0]);
      const none = { name: 'ValueError', message: /not a mapping/ };
      assert.throws(() => posix.munmap(map), none);
      assert.throws(() => posix.munmap(views[0]), none);
      const ordinary = new ArrayBuffer(4096);
      assert.throws(() => posix.munmap(ordinary), none);
      assert.throws(() => posix.munmap(new Uint8Array(16)), none);
      assert.throws(() => posix.munmap(Buffer.from('text')), none);
      assert.throws(() => posix.munmap(new ArrayBuffer(0)), none);
      assert.equal(ordinary.byteLength, 4096);
      assert.throws(() => posix.munmap(new SharedArrayBuffer(8)), TypeError);
      assert.throws(() => posix.munmap(7), TypeError);
      assert.throws(() => posix.munmap(null), TypeError);
    `);
  });

  it('lets a Worker unmap its own mappings only', async () => {
    await check(`
      const map = posix.mmap(-1, 4096);
      new Uint8Array(map)[0] = 1;
      const worker = new Worker(\`
        import * as posix from 'node-multiprocessing/posix';
        for (let i = 0; i < 100; i++) {
          const map = posix.mmap(-1, 4096);
          if (i % 2) posix.munmap(map);
        }
      \`, { eval: true, execArgv: ['--input-type=module'] });
      assert.equal(await new Promise((resolve) => worker.on('exit', resolve)), 0);
      assert.equal(new Uint8Array(map)[0], 1);
      posix.munmap(map);
    `);
  });
});

onPosix('named semaphores', () => {
  it('count', async () => {
    await check(`
      const semaphore = posix.semOpen(ours('s'), O_CREAT | O_EXCL, 0o600, 2);
      assert.equal(semaphore.name, ours('s'));
      if (process.platform === 'linux') assert.equal(semaphore.getValue(), 2);
      semaphore.wait();
      assert.equal(semaphore.tryWait(), true);
      assert.equal(semaphore.tryWait(), false);
      semaphore.post();
      assert.equal(semaphore.timedWait(10), true);
      const same = posix.semOpen(ours('s'));
      same.post();
      semaphore.post();
      assert.equal(same.timedWait(null), true);
      assert.equal(same.tryWait(), true);
      same.close();
      semaphore.unlink();
      assert.throws(() => posix.semUnlink(ours('s')), { code: 'ENOENT', syscall: 'sem_unlink' });
      semaphore.post();
      semaphore.wait();
      semaphore.close();
      semaphore.close();
    `);
  });

  it('wait for as long as told, whatever signals come', async () => {
    await check(`
      process.on('SIGUSR2', () => {});
      const disturber = posix.spawn('/bin/sh', ['sh', '-c', 'while kill -USR2 ' + process.pid + '; do sleep 0.01; done']);
      const semaphore = posix.semOpen(ours('t'), O_CREAT, 0o600, 0);
      semaphore.unlink();
      const [taken, took] = timed(() => semaphore.timedWait(0.25));
      assert.equal(taken, false);
      assert.ok(took >= 0.25 && took < 5, String(took));
      assert.equal(semaphore.timedWait(0), false);
      assert.equal(semaphore.timedWait(-1), false);
      semaphore.post();
      assert.equal(semaphore.timedWait(-1), true);
      posix.kill(disturber, 'SIGKILL');
      posix.waitpid(disturber);
      assert.throws(() => semaphore.timedWait(), TypeError);
      assert.throws(() => semaphore.timedWait('1'), TypeError);
      assert.throws(() => semaphore.timedWait(NaN), { name: 'ValueError' });
      semaphore.close();
    `);
  });

  it('wake another process', async () => {
    await check(`
      const there = posix.semOpen(ours('there'), O_CREAT | O_EXCL, 0o600, 0);
      const back = posix.semOpen(ours('back'), O_CREAT | O_EXCL, 0o600, 0);
      const pid = posix.fork();
      if (pid === 0) {
        there.wait();
        const own = posix.semOpen(ours('back'));
        // Closing the inherited one leaves the parent's as it is.
        there.close();
        back.close();
        for (let i = 0; i < 3; i++) own.post();
        posix._exit(7);
      }
      there.post();
      for (let i = 0; i < 3; i++) assert.equal(back.timedWait(20), true);
      assert.equal(exitcode(pid), 7);
      assert.equal(back.tryWait(), false);
      for (const one of [there, back]) { one.unlink(); one.close(); }
    `);
  });

  it('refuse what is not possible', async () => {
    await check(`
      assert.throws(() => posix.semOpen(ours('none')), { code: 'ENOENT', syscall: 'sem_open', message: /'\\/mpt/ });
      assert.throws(() => posix.semOpen(ours('neg'), O_CREAT, 0o600, -1), { code: 'EINVAL' });
      assert.throws(() => posix.semOpen('/a/b', O_CREAT), { syscall: 'sem_open' });
      assert.throws(() => posix.semOpen(7), TypeError);
      assert.throws(() => posix.semOpen('x\\0y'), { name: 'ValueError' });
      assert.throws(() => posix.semOpen(ours('v'), O_CREAT, 0o600, 1.5), TypeError);
      const one = posix.semOpen(ours('x'), O_CREAT | O_EXCL, 0o600, 1);
      assert.throws(() => posix.semOpen(ours('x'), O_CREAT | O_EXCL), { code: 'EEXIST' });
      one.unlink();
      one.close();
      for (const method of ['wait', 'tryWait', 'post', 'getValue']) {
        assert.throws(() => one[method](), { code: 'EBADF', errno: -os.constants.errno.EBADF, syscall: /^sem_/ });
      }
      assert.throws(() => one.timedWait(1), { code: 'EBADF', syscall: 'sem_timedwait' });
      if (posix.SEM_VALUE_MAX !== undefined && process.platform === 'linux') {
        const full = posix.semOpen(ours('full'), O_CREAT, 0o600, posix.SEM_VALUE_MAX);
        assert.throws(() => full.post(), { code: 'EOVERFLOW', syscall: 'sem_post' });
        full[Symbol.dispose]();
        posix.semUnlink(ours('full'));
      }
    `);
  });

  it('have a handle that nobody can make', async () => {
    await check(`
      import { native } from '../support/native.mjs';
      assert.throws(() => new posix.NamedSemaphore(7, {}), TypeError);
      const view = new Int32Array(4);
      for (const handle of [{}, null, 0, 7n, 'x', Symbol('s'), () => {}, [], view, view.buffer, new Proxy({}, {}), process]) {
        const fake = new posix.NamedSemaphore(ours('fake'), handle);
        for (const method of ['wait', 'tryWait', 'post', 'getValue', 'close']) assert.throws(() => new posix.NamedSemaphore(ours('fake'), handle)[method](), TypeError);
        assert.throws(() => fake.timedWait(1), TypeError);
      }
      assert.throws(() => new posix.NamedSemaphore(ours('fake')).post(), { code: 'EBADF' });
      assert.throws(() => posix.NamedSemaphore.prototype.post.call({}), TypeError);
      const handle = native.semOpen(ours('h'), O_CREAT | O_EXCL, 0o600, 1);
      native.semUnlink(ours('h'));
      assert.equal(native.semWait(handle, 0), true);
      native.semClose(handle);
      for (const use of [() => native.semWait(handle, 0), () => native.semPost(handle), () => native.semGetValue(handle), () => native.semClose(handle)]) {
        assert.throws(use, { code: 'EBADF' });
      }
    `);
  });

  it('are left open by nobody who forgets them', async () => {
    await check(`
      import { setFlagsFromString } from 'node:v8';
      import { runInNewContext } from 'node:vm';
      setFlagsFromString('--expose-gc');
      const gc = runInNewContext('gc');
      const mapped = () => readFileSync('/proc/self/maps', 'utf8').includes(ours('g').slice(1));
      (() => posix.semOpen(ours('g'), O_CREAT, 0o600, 0).post())();
      posix.semUnlink(ours('g'));
      for (let i = 0; i < 50 && mapped(); i++) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal(mapped(), false);
    `);
  });
});
