/** The serialisation as it was built: the codec is a part of its own, which the package loads late. */

import { createRequire } from 'node:module';
import type * as Package from '../../src/index.js';
import type * as Codec from '../../src/codec.js';

const require = createRequire(import.meta.url);
export const { reduction, PicklingError, TimeoutError, UnpicklingError } =
  require('node-multiprocessing') as typeof Package;
export const { dumps, loads } = reduction;
export const { encode, decode, registerInternal } = require('../../lib/codec.cjs') as typeof Codec;
