/** Values as bytes: a placeholder by structured clone, for what comes with functions and classes by reference. */

import { lazyBuiltin } from './lazy_builtin.js';

export function dumps(value: unknown): Buffer {
  return lazyBuiltin('node:v8').serialize(value);
}

export function loads(bytes: Uint8Array): unknown {
  return lazyBuiltin('node:v8').deserialize(bytes);
}
