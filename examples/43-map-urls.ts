/**
 * `map` over addresses, one of which nobody answers at. A process of its own stands for the sites, because `map` blocks.
 *
 * After test/fixtures/python/43_map_urls.py (seed 004).
 */

import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Pool, Process, Queue } from 'node-multiprocessing';

async function scrape(url: string): Promise<void> {
  try {
    const response = await fetch(url);
    console.log(`<Response [${response.status}]>`);
  } catch {
    console.log('Error Occured ', url);
  } finally {
    console.log('URL ', url, ' Scraped');
  }
}

function serve(ports: Queue<number>): void {
  const site = http.createServer((_, response) => response.end());
  site.listen(0, '127.0.0.1', () => ports.put((site.address() as AddressInfo).port));
}

const ports = new Queue<number>();
new Process({ target: serve, args: [ports], daemon: true }).start();
const port = ports.get();

const pool = new Pool({ processes: 3 });
const urls = [
  `http://127.0.0.1:${port}/baidu`,
  `http://127.0.0.1:${port}/meituan/`,
  `http://127.0.0.1:${port}/csdn/`,
  'http://127.0.0.1:1/nobody',
];
pool.map(scrape, urls);
