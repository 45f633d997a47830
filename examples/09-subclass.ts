/**
 * A subclass of Process with a `run()` of its own: `start()` runs it in the child.
 *
 * After test/fixtures/python/09_subclass.py (seed 000).
 */

import { Process } from 'node-multiprocessing';

class MyProcess extends Process {
  constructor(name: string) {
    super();
    this.name = name;
  }

  override run(): void {
    console.log(process.pid);
    console.log(`${this.name} 正在和女主播聊天`);
  }
}

const p1 = new MyProcess('wupeiqi');
const p2 = new MyProcess('yuanhao');
const p3 = new MyProcess('nezha');

p1.start();
p2.start();
p3.start();

p1.join();
p2.join();
p3.join();

console.log('主线程');
